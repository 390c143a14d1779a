// Made by dashboards/source; do not change it by hand.
{
  local config = $._config,
  local configured(rule) = rule {
    labels+: { severity: config.severities[rule.labels.severity] },
    annotations+: { runbook_url: config.runbookURLPattern % rule.alert },
  },
  prometheusAlerts+:: {
    groups+: [
      group { rules: [configured(rule) for rule in group.rules] }
      for group in (import 'alerts.json')
    ],
  },
}
