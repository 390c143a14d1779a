// What each panel shows, as data that a program can judge.
import { FieldType, formattedValueToString, getFieldDisplayName } from '@grafana/data';

function numbers(values) {
  const own = values.filter((value) => value !== null && Number.isFinite(value));
  return own.length ? { min: Math.min(...own), max: Math.max(...own) } : {};
}

function fieldsOf(data) {
  return data.flatMap((frame) => frame.fields.filter((field) => field.type !== FieldType.time).map((field) => ({
    name: getFieldDisplayName(field, frame, data),
    source: field.name,
    type: field.type,
    unit: field.config.unit,
    hidden: Boolean(field.config.custom?.hidden || field.config.custom?.hideFrom?.viz),
    points: field.values.length,
    ...(field.type === FieldType.number ? numbers(field.values) : {}),
    texts: field.values.slice(0, 30).map((value) => [String(value ?? ''), field.display ? formattedValueToString(field.display(value)) : '']),
  })));
}

// Text of which a part is cut off: it is wider than what holds it.
function isCut(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const text = range.getBoundingClientRect();
  if (!element.textContent.trim() || text.width === 0) return false;
  for (let holder = element; holder && !holder.matches('[data-panel]'); holder = holder.parentElement) {
    const box = holder.getBoundingClientRect();
    if (getComputedStyle(holder).overflowX !== 'visible' && (text.right > box.right + 1 || text.left < box.left - 1)) return true;
    if (holder.matches('[role=gridcell], [role=columnheader]')) break;
  }
  return false;
}

function deepestText(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) if (walker.currentNode.textContent.trim()) found.push(walker.currentNode.parentElement);
  return found;
}

function tableOf(root) {
  const grid = root.querySelector('[role=grid]');
  if (!grid) return undefined;
  const headers = [...grid.querySelectorAll('[role=columnheader]')];
  const cells = [...grid.querySelectorAll('[role=gridcell]')];
  const cut = (element) => deepestText(element).some(isCut);
  return {
    overflow: grid.scrollWidth - grid.clientWidth,
    columns: headers.map((header) => {
      const index = header.getAttribute('aria-colindex');
      const own = cells.filter((cell) => cell.getAttribute('aria-colindex') === index);
      return {
        header: header.textContent.trim(),
        headerCut: cut(header),
        cells: own.length,
        cutTexts: own.filter(cut).map((cell) => cell.textContent.trim()).slice(0, 3),
        links: [...new Set(own.flatMap((cell) => [...cell.querySelectorAll('a[href]')].map((link) => link.getAttribute('href'))))].slice(0, 5),
      };
    }),
  };
}

// A legend of which a part lies below its edge.
function legendOf(root) {
  const items = [...root.querySelectorAll('[data-testid^="data-testid VizLegend series"]')];
  const hidden = items.filter((item) => {
    const box = item.getBoundingClientRect();
    for (let holder = item.parentElement; holder && holder !== root; holder = holder.parentElement) {
      const edge = holder.getBoundingClientRect();
      if (getComputedStyle(holder).overflowY !== 'visible' && (box.bottom > edge.bottom + 2 || box.top < edge.top - 2)) return true;
    }
    return false;
  });
  return { items: items.length, hidden: hidden.map((item) => item.textContent.trim()) };
}

export function describe(panel, state) {
  const root = document.querySelector(`[data-panel="${panel.id}"]`);
  const title = root?.querySelector('h2, [data-testid*="header-title"]');
  const history = root?.querySelector('.history');
  return {
    id: panel.id,
    title: panel.title,
    type: panel.type,
    description: panel.description ?? '',
    noValue: panel.fieldConfig?.defaults?.noValue,
    unit: panel.fieldConfig?.defaults?.unit,
    maxDataPoints: panel.maxDataPoints,
    showLegend: panel.options?.legend?.showLegend,
    inRow: panel.inRow,
    queries: state.asked,
    fields: state.error ? [] : fieldsOf(state.data),
    message: root?.querySelector('.panel-message')?.textContent,
    titleCut: title ? isCut(title) : false,
    rowHeight: history ? Number(history.dataset.rowHeight) : undefined,
    rowNamesCut: history ? [...history.querySelectorAll('.row-name')].filter((text) => text.getBBox().x < 0).map((text) => text.textContent) : undefined,
    table: root ? tableOf(root) : undefined,
    legend: root ? legendOf(root) : undefined,
  };
}
