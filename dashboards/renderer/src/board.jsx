// A whole dashboard at the size of its panels. `window.__report` says what it shows once everything is drawn.
import React, { useEffect, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { EventBusSrv, ThemeContext, createTheme } from '@grafana/data';
import { GlobalStyles, Icon, PanelContextProvider } from '@grafana/ui';
import { Panel } from './panels.jsx';
import { annotationRegions, resolveVariables, timeRange } from './prometheus.js';
import { describe } from './report.js';
import { interpolate } from './template.js';

const CELL = 38;
const search = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: search.get('theme') ?? 'light' } });
const WIDTH = Number(search.get('width') ?? 1600) - 32;

// Panels in the order of the page; with `open`, closed rows are opened and what follows moves down.
function layout(board, open) {
  const found = [];
  let moved = 0;
  let row;
  for (const panel of board.panels) {
    const own = { ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y + moved } };
    if (panel.type !== 'row') {
      found.push({ ...own, inRow: row });
      continue;
    }
    row = panel.title;
    found.push(own);
    if (!panel.collapsed || !open) continue;
    own.collapsed = false;
    const first = Math.min(...panel.panels.map((inner) => inner.gridPos.y));
    const last = Math.max(...panel.panels.map((inner) => inner.gridPos.y + inner.gridPos.h));
    for (const inner of panel.panels) found.push({ ...inner, inRow: row, gridPos: { ...inner.gridPos, y: inner.gridPos.y - first + own.gridPos.y + 1 } });
    moved += last - first;
  }
  return found;
}

const place = ({ x, y, w, h }) => ({ left: x * ((WIDTH + 8) / 24), top: y * CELL, width: w * ((WIDTH + 8) / 24) - 8, height: h * CELL - 8 });

function Bar({ board, range, variables }) {
  const box = { border: `1px solid ${theme.colors.border.medium}`, background: theme.colors.background.primary, padding: '4px 8px', borderRadius: 2 };
  const label = { ...box, background: theme.colors.background.secondary, fontSize: 12, fontWeight: 500 };
  const text = (variable) => (variable.value === '$__all' ? 'All' : [].concat(variable.value).join(' + '));
  const shown = (moment, raw) => (/^\d+$/.test(raw) ? moment.toISOString().slice(0, 16).replace('T', ' ') : raw);
  return (
    <>
      <div style={{ display: 'flex', justifyContent: 'space-between', marginBottom: 12 }}>
        <span style={{ fontSize: 16, fontWeight: 500 }}>{board.title}</span>
        <span style={box}><Icon name="clock-nine" /> {shown(range.from, range.raw.from)} to {shown(range.to, range.raw.to)} UTC</span>
      </div>
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, marginBottom: 16 }}>
        {Object.values(variables).filter((variable) => variable.hide !== 2).map((variable) => (
          <div key={variable.name} style={{ display: 'flex' }}>
            <span style={label}>{variable.label || variable.name}</span>
            <span style={{ ...box, borderLeft: 0 }}>{text(variable) || 'None'} ▾</span>
          </div>
        ))}
        <span style={{ flex: 1 }} />
        {(board.links ?? []).map((link) => <span key={link.title} style={{ ...box, color: theme.colors.text.link }}><Icon name="external-link-alt" size="sm" /> {link.title}</span>)}
      </div>
    </>
  );
}

function Row({ panel, variables }) {
  return (
    <div style={{ position: 'absolute', ...place(panel.gridPos), display: 'flex', alignItems: 'center', gap: 6, fontSize: 16, fontWeight: 500 }}>
      <Icon name={panel.collapsed ? 'angle-right' : 'angle-down'} /> {interpolate(panel.title, variables)}
      {panel.collapsed && <span style={{ color: theme.colors.text.secondary, fontSize: 12, fontWeight: 400, fontStyle: 'italic' }}>({panel.panels.length} {panel.panels.length === 1 ? 'panel' : 'panels'})</span>}
    </div>
  );
}

async function loadBoard() {
  // A canvas measures text with what is loaded by then.
  await Promise.all(['400 12px Inter', '500 14px Inter'].map((font) => document.fonts.load(font)));
  const board = await (await fetch(`/board/${search.get('board')}`)).json();
  const range = timeRange(search.get('from') ?? board.time.from, search.get('to') ?? board.time.to);
  const wanted = {};
  for (const [key, value] of search) {
    if (!key.startsWith('var-')) continue;
    const name = key.slice('var-'.length);
    wanted[name] = name in wanted ? [].concat(wanted[name], value) : value;
  }
  const variables = await resolveVariables(board, range, wanted);
  const regions = await annotationRegions(board, range, variables);
  return { board, range, variables, regions, theme, panels: layout(board, search.get('open') === '1') };
}

const CELLS = { table: '[role=gridcell]', timeseries: '.u-over', 'status-history': 'rect, .panel-message', 'state-timeline': 'rect' };
const PATIENCE = 20000;

// Components measure themselves and draw a second time; a busy machine takes its time for it.
async function whenDrawn(panels, states) {
  const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
  const lacks = (panel) => {
    const state = states.get(panel.id);
    const cells = CELLS[panel.type];
    return cells && state.data.some((frame) => frame.length > 0) && !document.querySelector(`[data-panel="${panel.id}"]`)?.querySelector(cells);
  };
  const end = performance.now() + PATIENCE;
  do await pause(700); while (panels.some(lacks) && performance.now() < end);
  await pause(700);
}

function App() {
  const [loaded, setLoaded] = useState(null);
  const states = useRef(new Map());
  useEffect(() => {
    loadBoard().then(setLoaded, (error) => { window.__failure = error.stack ?? String(error); });
  }, []);
  if (!loaded) return null;
  const { board, range, variables, panels } = loaded;
  const drawn = panels.filter((panel) => panel.type !== 'row');
  const onLoaded = (panel, state) => {
    states.current.set(panel.id, state);
    if (states.current.size < drawn.length) return;
    whenDrawn(drawn, states.current).then(() => {
      window.__report = {
        board: board.uid,
        title: board.title,
        openPanels: board.panels.filter((own) => own.type !== 'row').length,
        annotations: loaded.regions,
        variables: Object.values(variables).map(({ name, value, options, query, allValue }) => ({ name, value, options, query, allValue })),
        panels: drawn.map((own) => describe(own, states.current.get(own.id))),
      };
    });
  };
  const height = Math.max(...panels.map((panel) => panel.gridPos.y + panel.gridPos.h)) * CELL;
  return (
    <PanelContextProvider value={{ eventBus: new EventBusSrv(), eventsScope: 'board', app: 'dashboard' }}>
      <div id="board" style={{ padding: 16, width: WIDTH + 32, boxSizing: 'border-box', background: theme.colors.background.canvas }}>
        <Bar board={board} range={range} variables={variables} />
        <div style={{ position: 'relative', height }}>
          {panels.map((panel) => (panel.type === 'row' ? <Row key={panel.id} panel={panel} variables={variables} /> : <Panel key={panel.id} panel={panel} box={place(panel.gridPos)} context={loaded} onLoaded={onLoaded} />))}
        </div>
      </div>
    </PanelContextProvider>
  );
}

createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <App />
  </ThemeContext.Provider>,
);
