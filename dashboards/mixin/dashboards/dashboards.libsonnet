// Made by dashboards/source; do not change it by hand.
{
  local config = $._config,
  local configured(board) = board {
    tags+: config.dashboardTags,
    [if config.dashboardRefresh != null then 'refresh']: config.dashboardRefresh,
    [if config.dashboardFrom != null then 'time']+: { from: config.dashboardFrom },
  },
  grafanaDashboards+:: {
    'delivery-channels.json': configured(import '../../delivery-channels.json'),
    'delivery-email.json': configured(import '../../delivery-email.json'),
    'delivery-exporter.json': configured(import '../../delivery-exporter.json'),
    'delivery-messages.json': configured(import '../../delivery-messages.json'),
    'delivery-objectives.json': configured(import '../../delivery-objectives.json'),
    'delivery-overview.json': configured(import '../../delivery-overview.json'),
  },
}
