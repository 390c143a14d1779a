// Status history and state timeline: Grafana keeps these two in its server's code, so they are drawn here.
import React from 'react';
import { FieldType, formattedValueToString, getFieldDisplayName } from '@grafana/data';

const LEGEND = 26;
const AXIS = 22;

let canvas;
function textWidth(theme, text) {
  canvas ??= document.createElement('canvas').getContext('2d');
  canvas.font = `12px ${theme.typography.fontFamily}`;
  return canvas.measureText(text).width;
}

function ticksOf(from, to, width) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080].map((minutes) => minutes * 60000);
  const step = steps.find((one) => (one / (to - from)) * width >= 80) ?? steps.at(-1);
  const days = to - from > 86400000 * 1.5;
  const found = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    const text = new Date(time).toISOString();
    found.push([time, days ? `${text.slice(5, 10).replace('-', '/')} ${text.slice(11, 16)}` : text.slice(11, 16)]);
  }
  return found;
}

// The names of colours, by mapping if there is one, else by threshold.
function legendOf(field, theme) {
  const mappings = field.config.mappings ?? [];
  if (mappings.length) {
    return mappings.flatMap((mapping) => (mapping.type === 'value' ? Object.values(mapping.options) : [mapping.options.result]))
      .map((result) => ({ label: result.text, color: theme.visualization.getColorByName(result.color) }));
  }
  const text = (value) => formattedValueToString(field.display(value));
  const { steps } = field.config.thresholds;
  return steps.map((step, index) => ({
    label: index === 0 ? `< ${text(steps[1]?.value ?? 0)}` : `${text(step.value)}+`,
    color: theme.visualization.getColorByName(step.color),
  }));
}

// Neighbouring cells of a timeline with one text are one.
function merged(cells) {
  const found = [];
  for (const cell of cells) {
    const last = found.at(-1);
    if (last && last.text === cell.text && cell.from - last.to < 1.5 * cell.step) last.to = cell.to;
    else found.push({ ...cell });
  }
  return found;
}

// More points than half the pixels cannot be told apart; Grafana refuses them with these words.
export function tooMany(data, width) {
  const points = Math.max(...data.map((frame) => frame.length), 0);
  return points > width / 2 ? `Too many points to visualize properly.\nUpdate the query to return fewer points.\n(${points} points received)` : undefined;
}

export function History({ data, options, kind, width, height, range, theme }) {
  const rows = data.map((frame) => {
    const field = frame.fields.find((own) => own.type === FieldType.number);
    return { field, time: frame.fields.find((own) => own.type === FieldType.time), name: getFieldDisplayName(field, frame, data) };
  });
  const left = Math.min(width * 0.4, Math.max(...rows.map((row) => textWidth(theme, row.name))) + 14);
  const from = range.from.valueOf();
  const to = range.to.valueOf();
  const legend = options.legend.showLegend ? LEGEND : 0;
  const plot = height - AXIS - legend;
  const rowHeight = plot / rows.length;
  const step = rows[0].time.config.interval ?? 60000;
  const at = (time) => left + ((time - from) / (to - from)) * (width - left - 4);
  const edge = (time) => Math.max(left, Math.min(width - 4, at(time)));
  return (
    <div className="history" data-row-height={rowHeight}>
      <svg width={width} height={height - legend} style={{ fontFamily: theme.typography.fontFamily, fontSize: 12, display: 'block' }}>
        {rows.map((row, index) => {
          const cells = row.field.values.flatMap((value, i) => {
            if (value === null || value === undefined) return [];
            const shown = row.field.display(value);
            const time = row.time.values[i];
            return [{ from: time - step, to: time, step, color: shown.color, text: formattedValueToString(shown) }];
          });
          const inner = rowHeight * (options.rowHeight ?? 0.9);
          return (
            <g key={index}>
              <text className="row-name" x={left - 8} y={index * rowHeight + rowHeight / 2 + 4} textAnchor="end" fill={theme.colors.text.primary}>{row.name}</text>
              {(kind === 'state-timeline' ? merged(cells) : cells).map((cell, i) => {
                const x = edge(cell.from);
                const full = edge(cell.to) - x;
                const wide = kind === 'state-timeline' ? full : full * (options.colWidth ?? 0.9);
                const fits = options.showValue !== 'never' && wide > textWidth(theme, cell.text) + 8 && inner > 14;
                return (
                  <g key={i}>
                    <rect x={x} y={index * rowHeight + (rowHeight - inner) / 2} width={Math.max(wide, 1)} height={inner} fill={cell.color} fillOpacity={0.75} stroke={cell.color} />
                    {fits && <text x={x + 6} y={index * rowHeight + rowHeight / 2 + 4} fill={theme.colors.text.primary}>{cell.text}</text>}
                  </g>
                );
              })}
            </g>
          );
        })}
        {ticksOf(from, to, width - left).filter(([time]) => at(time) > left + 20 && at(time) < width - 22).map(([time, text]) => (
          <text key={time} x={at(time)} y={plot + 16} textAnchor="middle" fill={theme.colors.text.primary}>{text}</text>
        ))}
      </svg>
      {legend > 0 && (
        <div style={{ display: 'flex', gap: 14, fontSize: 12, height: legend, alignItems: 'end' }}>
          {legendOf(rows[0].field, theme).map((item) => (
            <span key={item.label}>
              <span style={{ display: 'inline-block', width: 14, height: 4, borderRadius: 2, background: item.color, marginRight: 6, verticalAlign: 'middle' }} />
              {item.label}
            </span>
          ))}
        </div>
      )}
    </div>
  );
}
