// One panel: its queries, its frames, and the component that Grafana draws it with.
import React, { useEffect, useState } from 'react';
import { FieldType, VizOrientation, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { merge } from 'lodash';
import { prepare } from './fields.js';
import { History, tooMany } from './history.jsx';
import { runQueries } from './prometheus.js';
import { interpolate } from './template.js';

const LIST = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };
const REDUCE = { values: false, calcs: ['lastNotNull'], fields: '' };
const OPTIONS = {
  timeseries: { legend: LIST, tooltip: { mode: 'single', sort: 'none' } },
  stat: { reduceOptions: REDUCE, graphMode: 'area', colorMode: 'value', justifyMode: 'auto', textMode: 'auto', wideLayout: true, orientation: 'auto', percentChangeColorMode: 'standard' },
  bargauge: { reduceOptions: REDUCE, orientation: 'auto', displayMode: 'gradient', valueMode: 'color', namePlacement: 'auto', showUnfilled: true, minVizWidth: 8, minVizHeight: 16, maxVizHeight: 300 },
  table: { showHeader: true, cellHeight: 'sm', sortBy: [] },
  'status-history': { legend: LIST, showValue: 'auto', rowHeight: 0.9, colWidth: 0.9 },
  'state-timeline': { legend: LIST, showValue: 'auto', rowHeight: 0.9 },
};

const Message = ({ text }) => <div className="panel-message" style={{ whiteSpace: 'pre-line', padding: 4 }}>{text}</div>;

// A line ends where a step has no sample.
function withGaps(frame) {
  const time = frame.fields.find((field) => field.type === FieldType.time);
  const step = time?.config.interval;
  if (!step) return frame;
  const index = [];
  time.values.forEach((at, i) => {
    if (i && at - time.values[i - 1] > 1.5 * step) index.push([time.values[i - 1] + step, null]);
    index.push([at, i]);
  });
  if (index.length === frame.length) return frame;
  const fields = frame.fields.map((field) => ({ ...field, values: index.map(([at, i]) => (field === time ? at : i === null ? null : field.values[i])) }));
  return { ...frame, length: index.length, fields };
}

// Annotations as dashed lines and a bar below them, as Grafana marks a region.
function annotate(regions, theme) {
  return (config) => {
    config.addHook('draw', (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      for (const region of regions) {
        const from = Math.max(bbox.left, plot.valToPos(region.from, 'x', true));
        const to = Math.min(bbox.left + bbox.width, plot.valToPos(region.to, 'x', true));
        if (to < bbox.left || from > bbox.left + bbox.width) continue;
        ctx.strokeStyle = ctx.fillStyle = theme.visualization.getColorByName(region.color);
        ctx.setLineDash([4, 4]);
        ctx.beginPath();
        ctx.moveTo(from, bbox.top);
        ctx.lineTo(from, bbox.top + bbox.height);
        ctx.stroke();
        ctx.fillRect(from, bbox.top + bbox.height - 3, Math.max(to - from, 4), 3);
      }
      ctx.restore();
    });
    return null;
  };
}

function Single({ panel, options, data, fieldConfig, width, height, theme }) {
  const stat = panel.type === 'stat';
  const values = () => getFieldDisplayValues({
    fieldConfig, data, theme, reduceOptions: options.reduceOptions, replaceVariables: (text) => text, timeZone: 'utc',
    sparkline: stat && options.graphMode !== 'none',
  });
  const common = {
    source: data, width, height, renderCounter: 0, getValues: values, getAlignmentFactors: getDisplayValueAlignmentFactors,
    orientation: options.orientation === 'auto' && !stat ? (width > height ? VizOrientation.Vertical : VizOrientation.Horizontal) : options.orientation,
  };
  if (stat) {
    return (
      <VizRepeater {...common} autoGrid itemSpacing={3} renderValue={({ value, width: w, height: h, alignmentFactors, count }) => (
        <BigValue value={value.display} sparkline={value.sparkline} count={count} width={w} height={h} theme={theme} alignmentFactors={alignmentFactors}
          colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode} textMode={options.textMode} wideLayout={options.wideLayout} />
      )} />
    );
  }
  return (
    <VizRepeater {...common} itemSpacing={10} minVizWidth={options.minVizWidth} minVizHeight={options.minVizHeight} maxVizHeight={options.maxVizHeight}
      renderValue={({ value, width: w, height: h, alignmentFactors, orientation }) => (
        <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)} width={w} height={h} orientation={orientation}
          displayMode={options.displayMode} valueDisplayMode={options.valueMode} namePlacement={options.namePlacement} showUnfilled={options.showUnfilled}
          alignmentFactors={alignmentFactors} text={options.text} theme={theme} itemSpacing={10} lcdCellWidth={12} />
      )} />
  );
}

function Drawn({ panel, state, width, height, context }) {
  const { range, theme, regions } = context;
  const { data, fieldConfig } = state;
  const options = merge(structuredClone(OPTIONS[panel.type] ?? {}), panel.options ?? {});
  if (panel.type === 'text') return <div className="markdown-html" style={{ padding: 4 }}>{interpolate(panel.options.content, context.variables)}</div>;
  if (!data.some((frame) => frame.length > 0)) return <Message text={fieldConfig.defaults.noValue ?? 'No data'} />;
  switch (panel.type) {
    case 'timeseries':
      return <TimeSeries frames={data.map(withGaps)} structureRev={1} width={width} height={height} timeRange={range} timeZone="utc" legend={options.legend} options={options}>{annotate(regions, theme)}</TimeSeries>;
    case 'table':
      return <TableNG data={data[0]} width={width} height={height} noHeader={!options.showHeader} showTypeIcons={false} resizable sortBy={options.sortBy} cellHeight={options.cellHeight} timeRange={range} fieldConfig={fieldConfig} getActions={() => []} structureRev={1} enableVirtualization={false} />;
    case 'status-history':
    case 'state-timeline': {
      const refusal = panel.type === 'status-history' && tooMany(data, width);
      return refusal ? <Message text={refusal} /> : <History data={data} options={options} kind={panel.type} width={width} height={height} range={range} theme={theme} />;
    }
    case 'stat':
    case 'bargauge':
      return <Single panel={panel} options={options} data={data} fieldConfig={fieldConfig} width={width} height={height} theme={theme} />;
    default:
      throw new Error(`${panel.type} is not drawn by this renderer`);
  }
}

class Boundary extends React.Component {
  state = {};

  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    return this.state.error ? <Message text={`Error: ${this.state.error.message}`} /> : this.props.children;
  }
}

async function load(panel, context, width) {
  const { range, variables, theme } = context;
  const { frames, asked } = await runQueries(panel, range, variables, width);
  return { ...(await prepare(panel, frames, variables, range, theme)), asked };
}

export function Panel({ panel, box, context, onLoaded }) {
  const [state, setState] = useState(null);
  useEffect(() => {
    const loaded = panel.targets?.length ? load(panel, context, box.width - 18) : Promise.resolve({ data: [], asked: [], fieldConfig: { defaults: {}, overrides: [] } });
    loaded.catch((error) => ({ error, data: [], asked: [] })).then((own) => {
      setState(own);
      onLoaded(panel, own);
    });
  }, []);
  return (
    <div style={{ position: 'absolute', ...box }} data-panel={panel.id}>
      <PanelChrome title={interpolate(panel.title, context.variables)} description={panel.description} width={box.width} height={box.height}>
        {(width, height) => {
          if (!state) return null;
          return state.error ? <Message text={`Error: ${state.error.message}`} /> : <Boundary><Drawn panel={panel} state={state} width={width} height={height} context={context} /></Boundary>;
        }}
      </PanelChrome>
    </div>
  );
}
