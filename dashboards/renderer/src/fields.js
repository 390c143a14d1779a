// Field configuration, overrides and transformations, as a dashboard applies them.
import {
  FieldConfigOptionsRegistry, applyFieldOverrides, cacheFieldDisplayNames, identityOverrideProcessor,
  standardTransformers, standardTransformersRegistry, transformDataFrame,
} from '@grafana/data';
import { merge } from 'lodash';
import { lastValueFrom } from 'rxjs';
import { cellValues, interpolate } from './template.js';

standardTransformersRegistry.setInit(() => {
  const unique = new Map(Object.values(standardTransformers).map((transformer) => [transformer.id, transformer]));
  return [...unique.values()].map((transformer) => ({
    id: transformer.id, name: transformer.name, description: '', aliasIds: transformer.aliasIds,
    transformation: async () => transformer, editor: () => null, imageDark: '', imageLight: '',
  }));
});

const STANDARD = [
  'unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'color', 'thresholds', 'mappings', 'links', 'actions',
  'filterable', 'fieldMinMax', 'description',
];
// The defaults of each kind's own settings.
const CUSTOM = {
  timeseries: {
    drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', showPoints: 'auto',
    pointSize: 5, barAlignment: 0, barWidthFactor: 0.6, stacking: { mode: 'none', group: 'A' }, spanNulls: false, insertNulls: false,
    axisPlacement: 'auto', axisGridShow: true, axisCenteredZero: false, axisBorderShow: false, axisColorMode: 'text', axisLabel: '',
    showValues: false, scaleDistribution: { type: 'linear' }, thresholdsStyle: { mode: 'off' }, hideFrom: { legend: false, tooltip: false, viz: false },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false, wrapText: false },
  'status-history': { fillOpacity: 70, lineWidth: 1 },
  'state-timeline': { fillOpacity: 70, lineWidth: 0 },
};
const MORE = ['axisSoftMin', 'axisSoftMax', 'fillBelowTo', 'lineStyle', 'width', 'minWidth', 'hidden', 'filterable'];

function registryOf(custom, overridden) {
  const registry = new FieldConfigOptionsRegistry();
  const plain = { name: '', settings: {}, editor: () => null, override: () => null, process: identityOverrideProcessor, shouldApply: () => true };
  for (const id of STANDARD) registry.register({ ...plain, id, path: id });
  for (const key of new Set([...Object.keys(custom), ...MORE, ...overridden])) {
    registry.register({ ...plain, id: `custom.${key}`, path: key, isCustom: true });
  }
  return registry;
}

// Frames ready to be drawn, and the configuration that they were made with.
export async function prepare(panel, frames, variables, range, theme) {
  const own = structuredClone(panel.fieldConfig ?? { defaults: {}, overrides: [] });
  const custom = merge(structuredClone(CUSTOM[panel.type] ?? {}), own.defaults.custom ?? {});
  const defaults = {
    color: { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' }, mappings: [],
    thresholds: { mode: 'absolute', steps: [{ value: null, color: 'green' }, { value: 80, color: 'red' }] },
    ...own.defaults, custom,
  };
  const firstIsEndless = (thresholds) => thresholds?.steps?.forEach((step) => { step.value ??= -Infinity; });
  firstIsEndless(defaults.thresholds);
  const properties = (own.overrides ?? []).flatMap((override) => override.properties);
  for (const property of properties) if (property.id === 'thresholds') firstIsEndless(property.value);
  const overridden = properties.map((property) => property.id).filter((id) => id.startsWith('custom.')).map((id) => id.slice('custom.'.length));
  const fieldConfig = { defaults, overrides: own.overrides ?? [] };
  const replaceVariables = (text, scoped) => interpolate(text, variables, cellValues(scoped, range));
  const steps = (panel.transformations ?? []).filter((transformation) => !transformation.disabled);
  const transformed = steps.length ? await lastValueFrom(transformDataFrame(steps, frames, { interpolate: replaceVariables })) : frames;
  const data = applyFieldOverrides({
    data: transformed, fieldConfig, replaceVariables, theme, timeZone: 'utc', fieldConfigRegistry: registryOf(custom, overridden),
  });
  cacheFieldDisplayNames(data);
  return { data, fieldConfig };
}
