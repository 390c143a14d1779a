// What Grafana's Prometheus data source does: variables, steps, names of series, frames.
import { FieldType, createDataFrame, dateMath, dateTime, rangeUtil } from '@grafana/data';
import { interpolate } from './template.js';

// A data source that says nothing of its scrape interval.
const SCRAPE_SECONDS = 15;

export function timeRange(from, to) {
  const moment = (text, roundUp) => (/^\d+$/.test(text) ? dateTime(Number(text)) : dateMath.parse(text, roundUp));
  return { from: moment(from, false), to: moment(to, true), raw: { from, to } };
}

async function ask(path, parameters) {
  const answer = await fetch(`/prometheus/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const json = await answer.json();
  if (json.status !== 'success') throw new Error(`${json.errorType}: ${json.error}`);
  return json.data;
}

const byTime = (range) => ({ start: range.from.unix(), end: range.to.unix() });

function sorted(options, how) {
  const number = (text) => Number(/\d+/.exec(text)?.[0] ?? -1);
  const orders = { 1: undefined, 3: (a, b) => number(a) - number(b), 4: (a, b) => number(b) - number(a), 5: (a, b) => a.localeCompare(b, 'en', { sensitivity: 'base' }) };
  return how in orders ? [...options].sort(orders[how]) : options;
}

// A label's values, or the names in `query_result`'s answer.
async function optionsOf(query, variables, range) {
  const labels = /^label_values\((?:([\s\S]+),\s*)?(\w+)\)$/.exec(query.trim());
  if (!labels) throw new Error(`this renderer cannot read the variable's query ${query}`);
  const parameters = new URLSearchParams(byTime(range));
  if (labels[1]) parameters.set('match[]', interpolate(labels[1], variables));
  const answer = await fetch(`/prometheus/api/v1/label/${labels[2]}/values?${parameters}`);
  return (await answer.json()).data ?? [];
}

// The variables of a board in their order, as each may name those before it.
export async function resolveVariables(board, range, wanted) {
  const variables = {};
  for (const definition of board.templating.list) {
    const { name, type } = definition;
    const variable = { ...definition, options: [], value: wanted[name] ?? definition.current?.value ?? '' };
    variables[name] = variable;
    if (type === 'datasource') {
      variable.options = ['Prometheus'];
      variable.value = 'Prometheus';
    } else if (type === 'query') {
      const query = definition.query?.query ?? definition.query;
      const found = await optionsOf(query, variables, range);
      const filter = definition.regex && new RegExp(definition.regex.replace(/^\/|\/$/g, ''));
      variable.options = sorted(filter ? found.filter((option) => filter.test(option)) : found, definition.sort);
    } else {
      variable.options = (definition.query ?? '').split(',').filter(Boolean);
    }
    if (type === 'query' && !wanted[name]) {
      const known = variable.value === '$__all' || [].concat(variable.value).every((value) => variable.options.includes(value));
      if (!known || !variable.value.length) variable.value = variable.options[0] ?? '';
    }
  }
  return variables;
}

function nameOf(target, labels, expression) {
  const format = target.legendFormat;
  if (format && format !== '__auto') return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? '');
  const entries = Object.entries(labels).filter(([label]) => label !== '__name__');
  if (!entries.length) return labels.__name__ ?? expression;
  if (format === '__auto') return undefined;
  return `${labels.__name__ ?? ''}{${entries.map(([label, value]) => `${label}="${value}"`).join(', ')}}`;
}

const numberOf = (text) => (text === 'NaN' ? null : Number(text));

function seriesFrame(target, expression, labels, times, values, step) {
  const displayNameFromDS = nameOf(target, labels, expression);
  return createDataFrame({
    refId: target.refId,
    name: displayNameFromDS,
    fields: [
      { name: 'Time', type: FieldType.time, config: step ? { interval: step * 1000 } : {}, values: times },
      { name: 'Value', type: FieldType.number, labels, config: { displayNameFromDS }, values },
    ],
  });
}

function tableFrame(target, result, valueName) {
  const labels = [...new Set(result.flatMap((series) => Object.keys(series.metric)))].sort();
  return createDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map((series) => series.value[0] * 1000) },
      ...labels.map((label) => ({ name: label, type: FieldType.string, config: { filterable: true }, values: result.map((series) => series.metric[label] ?? '') })),
      { name: valueName, type: FieldType.number, values: result.map((series) => numberOf(series.value[1])) },
    ],
  });
}

// The step and the macros of one query. `$__rate_interval` has to hold four scrapes at least.
export function resolution(panel, target, range, width) {
  const least = panel.interval?.replace('>', '') || `${SCRAPE_SECONDS}s`;
  const { intervalMs } = rangeUtil.calculateInterval(range, panel.maxDataPoints ?? Math.floor(width), least);
  const scrape = target.interval ? rangeUtil.intervalToMs(target.interval) / 1000 : SCRAPE_SECONDS;
  const step = Math.max(intervalMs / 1000, target.interval ? scrape : 0, 1) * (target.intervalFactor ?? 1);
  const seconds = Math.round((range.to.valueOf() - range.from.valueOf()) / 1000);
  const macros = {
    __interval: `${step}s`,
    __interval_ms: `${step * 1000}`,
    __rate_interval: `${Math.max(step + scrape, 4 * scrape)}s`,
    __range: `${seconds}s`,
    __range_s: `${seconds}`,
    __range_ms: `${seconds * 1000}`,
  };
  return { step, macros };
}

// Asks a panel's queries; what each of them was and how much came back is kept for the judge.
export async function runQueries(panel, range, variables, width) {
  const frames = [];
  const asked = [];
  const tables = panel.targets.filter((target) => target.format === 'table').length;
  for (const target of panel.targets.filter((own) => !own.hide)) {
    const { step, macros } = resolution(panel, target, range, width);
    const expression = interpolate(target.expr, variables, macros);
    const named = { ...target, legendFormat: interpolate(target.legendFormat, variables, macros) };
    let result;
    if (target.instant) {
      const data = await ask('query', { query: expression, time: range.to.valueOf() / 1000 });
      result = data.resultType === 'scalar' ? [{ metric: {}, value: data.result }] : data.result;
      if (target.format === 'table') {
        if (result.length) frames.push(tableFrame(named, result, tables > 1 ? `Value #${target.refId}` : 'Value'));
      } else {
        for (const series of result) frames.push(seriesFrame(named, expression, series.metric, [series.value[0] * 1000], [numberOf(series.value[1])]));
      }
    } else {
      const aligned = (moment) => Math.floor(moment.valueOf() / 1000 / step) * step;
      const data = await ask('query_range', { query: expression, start: aligned(range.from), end: aligned(range.to), step });
      result = data.result;
      for (const series of result) {
        frames.push(seriesFrame(named, expression, series.metric, series.values.map((point) => point[0] * 1000), series.values.map((point) => numberOf(point[1])), step));
      }
    }
    asked.push({ refId: target.refId, expression, step, interval: target.interval, legend: target.legendFormat, series: result.length });
  }
  return { frames, asked };
}

// Stretches of time in which an annotation's query is above zero.
export async function annotationRegions(board, range, variables) {
  const found = [];
  const step = Math.max(60, Math.round((range.to.valueOf() - range.from.valueOf()) / 1000 / 400));
  for (const annotation of board.annotations?.list ?? []) {
    if (!annotation.enable || !annotation.expr) continue;
    const { result } = await ask('query_range', { query: interpolate(annotation.expr, variables, { __interval: `${step}s`, __rate_interval: `${4 * step}s` }), start: range.from.unix(), end: range.to.unix(), step });
    for (const series of result) {
      const text = (annotation.titleFormat ?? '').replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => series.metric[label] ?? '');
      if (annotation.useValueForTime) {
        for (const value of new Set(series.values.map((point) => Number(point[1])))) {
          if (value >= range.from.valueOf()) found.push({ name: annotation.name, color: annotation.iconColor, text, from: value, to: value });
        }
        continue;
      }
      let open;
      for (const [time, value] of series.values) {
        if (Number(value) <= 0) continue;
        if (open && time * 1000 - open.to <= step * 1500) open.to = time * 1000;
        else found.push((open = { name: annotation.name, color: annotation.iconColor, text, from: time * 1000, to: time * 1000 }));
      }
    }
  }
  return found;
}
