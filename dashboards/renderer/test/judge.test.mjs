import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boundsOf, judge, readsOf } from '../judge.mjs';

const field = (more) => ({ name: 'shop', source: 'Value', type: 'number', points: 2, texts: [], ...more });
const panel = (more) => ({ title: 'One', type: 'timeseries', description: 'It shows.', showLegend: true, fields: [field()], queries: [], ...more });
const checks = async (...panels) => (await judge({ board: 'b', console: [], openPanels: 1, panels })).map((finding) => finding.check);

test('a description says what a percentage can be', () => {
  assert.deepEqual(boundsOf('It shows.'), [0, 100]);
  assert.deepEqual(boundsOf('It shows. Possible: 0 to 150 %.'), [0, 150]);
  assert.deepEqual(boundsOf('Possible of the usual: up to 150 %. Possible: -10 to 20 %.'), [-10, 150]);
});

test('the series that a query reads are found, and how long ago it reads them', () => {
  assert.deepEqual(readsOf('sum(rate(a{x="1"}[5m] offset 1d)) / on() b and topk(3, b)'), [
    { selector: 'a{x="1"}', offset: 86_400_000, range: 300_000 },
    { selector: 'b', offset: 0, range: 0 },
  ]);
});

const table = { overflow: 0, columns: [{ header: 'a', cells: 1, headerCut: false, cutTexts: [] }] };

test('a good panel has no findings', async () => {
  assert.deepEqual(await checks(panel()), []);
  assert.deepEqual(await checks(panel({ description: 'Possible: 0 to 150 %.', fields: [field({ unit: 'percentunit', min: 0.2, max: 1.4 })] })), []);
  assert.deepEqual(await checks(panel({ type: 'table', table, fields: [field({ type: 'string', texts: [['3813836816344707101', '3813836816344707101']] })] })), []);
});

test('each fault is a finding', async () => {
  assert.deepEqual(await checks(panel({ fields: [field({ unit: 'percentunit', min: 0.2, max: 1.4 })] })), ['impossible percentage']);
  assert.deepEqual(await checks(panel({ fields: [field(), field()] })), ['equal names']);
  assert.deepEqual(await checks(panel({ showLegend: false })), ['no legend']);
  assert.deepEqual(await checks(panel({ fields: [field({ name: 'up{job="a"}' })] })), ['no legend']);
  assert.deepEqual(await checks(panel({ fields: Array.from({ length: 21 }, (_, index) => field({ name: `s${index}` })) })), ['too many series']);
  assert.deepEqual(await checks(panel({ legend: { items: 2, hidden: ['shop'] } })), ['cut off']);
  assert.deepEqual(await checks(panel({ type: 'status-history', rowHeight: 6 })), ['cut off']);
  assert.deepEqual(await checks(panel({ type: 'table', table, fields: [field({ type: 'string', texts: [['3813836816344707101', '3.81 Quint']] })] })), ['an id as a number']);
  assert.deepEqual(await checks(panel({ type: 'table', table: { overflow: 90, columns: [{ header: 'a', cells: 1, headerCut: true, cutTexts: ['long'] }] } })), ['cut off', 'cut off', 'cut off']);
  assert.deepEqual(await checks(panel({ type: 'table' })), ['not drawn']);
  assert.deepEqual(await checks(panel({ queries: [{ expression: 'up{job=~"$jobs"}', series: 1 }] })), ['unknown variable']);
  assert.deepEqual(await checks(panel({ message: 'Too many points to visualize properly.' })), ['too many points']);
  assert.deepEqual(await checks(panel({ unit: 'ops' })), ['operations a second']);
  assert.deepEqual((await judge({ board: 'b', console: ['boom'], openPanels: 13, panels: [] })).map((finding) => finding.check), ['console', 'too many panels']);
});
