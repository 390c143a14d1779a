// node judge.mjs REPORT.json... [--prometheus URL --from MS --to MS] [--json]
// Reports what cannot be read or misleads on drawn dashboards; exits with 1 if there are findings.
import { parser } from '@prometheus-io/lezer-promql';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const MOST_SERIES = 20;
const MOST_OPEN_PANELS = 12;
const LEAST_ROW_HEIGHT = 12;
const SERIES_PANELS = ['timeseries', 'status-history', 'state-timeline', 'stat', 'bargauge'];
const RATES_PER_SECOND = ['ops', 'reqps', 'wps', 'rps', 'cps', 'iops', 'opm'];

// "Possible: 0 to 150 %." in a description; a percentage that says nothing of itself is between 0 and 100.
export function boundsOf(description) {
  const found = [...description.matchAll(/Possible[^.]*?: (?:up to |(-?\d+) to )(-?\d+) %\./g)];
  if (!found.length) return [0, 100];
  return [Math.min(...found.map((one) => Number(one[1] ?? 0))), Math.max(...found.map((one) => Number(one[2])))];
}

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const milliseconds = (text) => [...text.matchAll(/(\d+)(ms|[smhdw])/g)].reduce((sum, [, number, unit]) => sum + number * UNITS[unit], 0);

// The series that a query reads, each with how long ago it reads it: an offset, and the length of a range.
export function readsOf(expression) {
  const found = new Map();
  const text = (node) => expression.slice(node.from, node.to);
  parser.parse(expression).iterate({
    enter({ node }) {
      if (node.name !== 'VectorSelector') return undefined;
      let [offset, range] = [0, 0];
      for (let outer = node.parent; outer && /^(MatrixSelector|OffsetExpr|StepInvariantExpr)$/.test(outer.name); outer = outer.parent) {
        const rest = expression.slice(node.to, outer.to);
        if (outer.name === 'MatrixSelector') range = milliseconds(rest);
        if (outer.name === 'OffsetExpr') offset = milliseconds(rest.slice(rest.lastIndexOf('offset')));
      }
      const selector = text(node);
      found.set(`${selector} ${offset}`, { selector, offset, range });
      return false;
    },
  });
  return [...found.values()];
}

const duplicates = (names) => [...new Set(names.filter((name, index) => names.indexOf(name) !== index))];

function judgeSeries(panel, say) {
  const fields = panel.fields.filter((field) => field.type === 'number' && !field.hidden);
  if (panel.type === 'timeseries' && fields.length > MOST_SERIES) say('too many series', `${fields.length} series in one picture, more than ${MOST_SERIES}`);
  const twice = duplicates(fields.map((field) => field.name));
  if (twice.length) say('equal names', `several series are named "${twice.join('", "')}"`);
  if (['timeseries', 'status-history', 'state-timeline'].includes(panel.type) && fields.length) {
    if (panel.showLegend === false) say('no legend', 'no legend is shown');
    const unnamed = fields.filter((field) => !field.name.trim() || /^Value( #\w)?$/.test(field.name) || /^\{|\{.*=".*"\}/.test(field.name));
    if (unnamed.length) say('no legend', `a series is named "${unnamed[0].name}"`);
  }
  if (panel.type === 'timeseries' && panel.legend?.hidden.length) say('cut off', `the legend has no room for ${panel.legend.hidden.join(', ')}`);
  if (panel.rowHeight !== undefined && panel.rowHeight < LEAST_ROW_HEIGHT) say('cut off', `rows of ${panel.rowHeight.toFixed(1)} pixels`);
  if (panel.rowNamesCut?.length) say('cut off', `names of rows: ${panel.rowNamesCut.join(', ')}`);
}

function judgePercentages(panel, say) {
  const [least, most] = boundsOf(panel.description);
  for (const field of panel.fields) {
    const scale = { percentunit: 100, percent: 1 }[field.unit];
    if (!scale || field.type !== 'number' || field.max === undefined) continue;
    // Extrapolation of counters is off by a little.
    if (field.max * scale > most + 0.5 || field.min * scale < least - 0.5) {
      say('impossible percentage', `${field.name} is ${(field.min * scale).toFixed(1)} to ${(field.max * scale).toFixed(1)} %, possible is ${least} to ${most} %`);
    }
  }
}

function judgeTable(panel, say) {
  for (const field of panel.fields) {
    if (field.type !== 'string') continue;
    const spoiled = field.texts.find(([raw, shown]) => /^\d{4,}$/.test(raw) && shown !== raw);
    if (spoiled) say('an id as a number', `${field.name} shows ${spoiled[0]} as ${spoiled[1]}`);
  }
  const { table } = panel;
  const rows = Math.max(0, ...panel.fields.map((field) => field.points));
  if (rows && !table?.columns.some((column) => column.cells)) say('not drawn', `its ${rows} rows are not there`);
  if (!table) return;
  if (table.overflow > 2) say('cut off', `the table's columns are ${table.overflow} pixels wider than it is`);
  for (const column of table.columns) {
    if (column.headerCut) say('cut off', `the header ${column.header}`);
    if (column.cutTexts.length) say('cut off', `${column.header || 'a column'} cannot be read: ${column.cutTexts[0]}`);
  }
}

// Series that exist within the time that is shown.
async function exists(prometheus, selector, from, to) {
  const query = new URLSearchParams({ 'match[]': selector, start: from / 1000, end: to / 1000, limit: 1 });
  const answer = await (await fetch(`${prometheus}/api/v1/series?${query}`)).json();
  if (answer.status !== 'success') throw new Error(`${selector}: ${answer.error}`);
  return answer.data.length > 0;
}

// Grafana leaves a name that is no variable as it stands, and a matcher with it matches nothing.
function judgeVariables(panel, say) {
  for (const { expression } of panel.queries ?? []) {
    const unknown = /\$\{?[a-z_]\w*/i.exec(expression);
    if (unknown) say('unknown variable', `there is no ${unknown[0]}`);
  }
}

async function judgeEmptiness(panel, source, say) {
  for (const query of panel.queries ?? []) {
    if (query.series > 0 || !source) continue;
    const reads = readsOf(query.expression);
    const found = await Promise.all(reads.map(({ selector, offset, range }) => exists(source.prometheus, selector, source.from - offset - range, source.to - offset)));
    // A comparison may rightly leave nothing; then the panel says in words what that means.
    const filters = panel.noValue && />|<|==|!=(?!")|\band\b|\bunless\b/.test(query.expression.replace(/\{[^}]*\}/g, ''));
    if (found.every(Boolean) && !filters) say('no data', `${query.refId} finds nothing, though ${[...new Set(reads.map((own) => own.selector))].join(', ')} have samples`);
  }
}

export async function judge(report, source) {
  const findings = [];
  for (const problem of report.console ?? []) findings.push({ board: report.board, panel: '', check: 'console', detail: problem });
  if (report.openPanels > MOST_OPEN_PANELS) findings.push({ board: report.board, panel: '', check: 'too many panels', detail: `${report.openPanels} open panels, more than ${MOST_OPEN_PANELS}` });
  for (const panel of report.panels) {
    const say = (check, detail) => findings.push({ board: report.board, panel: panel.title, check, detail });
    if (panel.message?.startsWith('Too many points')) say('too many points', panel.message.replaceAll('\n', ' '));
    if (panel.message?.startsWith('Error')) say('error', panel.message);
    if (RATES_PER_SECOND.includes(panel.unit)) say('operations a second', `the unit ${panel.unit} says nothing of messages`);
    if (panel.titleCut) say('cut off', 'its title');
    if (SERIES_PANELS.includes(panel.type)) judgeSeries(panel, say);
    judgePercentages(panel, say);
    judgeVariables(panel, say);
    if (panel.type === 'table') judgeTable(panel, say);
    await judgeEmptiness(panel, source, say);
  }
  return findings;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values: flags, positionals } = parseArgs({
    allowPositionals: true,
    options: { prometheus: { type: 'string' }, from: { type: 'string' }, to: { type: 'string' }, json: { type: 'boolean' } },
  });
  const source = flags.prometheus && { prometheus: flags.prometheus, from: Number(flags.from), to: Number(flags.to) };
  const findings = [];
  for (const name of positionals) findings.push(...(await judge(JSON.parse(fs.readFileSync(name, 'utf8')), source)));
  if (flags.json) console.log(JSON.stringify(findings));
  else for (const finding of findings) console.log(`${finding.board} · ${finding.panel || 'board'} · ${finding.check}: ${finding.detail}`);
  process.exitCode = findings.length ? 1 : 0;
}
