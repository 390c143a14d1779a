// Grafana's variables in queries, titles and links.

const special = /[\\^$*+?.()|[\]{}]/g;
const asRegex = (value) => value.replace(special, '\\\\$&');

function chosen(variable) {
  return variable.value === '$__all' ? variable.options : [].concat(variable.value);
}

// A variable's value as Grafana writes it into a query: one of several is a regular expression.
function inQuery(variable) {
  if (variable.value === '$__all' && variable.allValue) return variable.allValue;
  const values = chosen(variable);
  if (!variable.multi && !variable.includeAll) return String(values[0] ?? '');
  return values.length === 1 ? asRegex(values[0]) : `(${values.map(asRegex).join('|')})`;
}

function asParameters(name, variable) {
  return [].concat(variable.value).map((value) => `var-${name}=${encodeURIComponent(value)}`).join('&');
}

// Replaces $name, ${name} and ${name:format}; `own` are values of one query or one cell.
export function interpolate(text, variables, own = {}) {
  return (text ?? '').replace(/\$\{([\w.]+(?:\["[^"]+"\])?)(?::(\w+))?\}|\$(\w+)/g, (whole, braced, format, bare) => {
    const name = braced ?? bare;
    if (name in own) return own[name];
    const variable = variables[name];
    if (!variable) return whole;
    if (format === 'queryparam') return asParameters(name, variable);
    if (format === 'text') return variable.value === '$__all' ? 'All' : chosen(variable).join(' + ');
    if (format === 'raw') return chosen(variable).join(',');
    return inQuery(variable);
  });
}

// What `${__value...}`, `${__data.fields...}` and the times mean in a link of a cell.
export function cellValues(scoped, range) {
  const own = {
    __url_time_range: `from=${encodeURIComponent(range.raw.from)}&to=${encodeURIComponent(range.raw.to)}`,
  };
  const context = scoped?.__dataContext?.value;
  if (!context) return own;
  const { frame, field, rowIndex } = context;
  if (rowIndex === undefined || !frame) return own;
  own['__value.raw'] = encodeURIComponent(String(field.values[rowIndex] ?? ''));
  for (const one of frame.fields) {
    const value = encodeURIComponent(String(one.values[rowIndex] ?? ''));
    for (const name of [one.name, one.config.displayName].filter(Boolean)) {
      own[`__data.fields.${name}`] = value;
      own[`__data.fields["${name}"]`] = value;
    }
  }
  return own;
}
