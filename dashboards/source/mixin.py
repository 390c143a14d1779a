"""The rules and dashboards as a monitoring mixin (jsonnet, in the layout of monitoring.mixins.dev), and as a
PrometheusRule of the Prometheus operator."""

import json

CONFIG = """\
// Made by dashboards/source; do not change it by hand. Override these fields where you use the mixin.
{
  _config+:: {
    // Where the runbooks are; %s is the alert's name.
    runbookURLPattern: 'http://localhost:9847/runbooks/%s',
    // What the severities are called where alerts are routed.
    severities: { page: 'page', warning: 'warning' },
    // Tags of the dashboards, beside their own.
    dashboardTags: [],
    // What the dashboards are refreshed by and begin with, where it is set, such as '1m' and 'now-1d'.
    dashboardRefresh: null,
    dashboardFrom: null,
  },
}
"""

ALERTS = """\
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
"""

RULES = """\
// Made by dashboards/source; do not change it by hand.
{
  prometheusRules+:: {
    groups+: (import 'rules.json'),
  },
}
"""

MIXIN = """\
// Made by dashboards/source; do not change it by hand.
(import 'config.libsonnet') +
(import 'alerts/alerts.libsonnet') +
(import 'rules/rules.libsonnet') +
(import 'dashboards/dashboards.libsonnet')
"""

DASHBOARD = """\
// Made by dashboards/source; do not change it by hand.
{
  local config = $._config,
  local configured(board) = board {
    tags+: config.dashboardTags,
    [if config.dashboardRefresh != null then 'refresh']: config.dashboardRefresh,
    [if config.dashboardFrom != null then 'time']+: { from: config.dashboardFrom },
  },
  grafanaDashboards+:: {
%s
  },
}
"""


def _split(made: dict) -> tuple[list[dict], list[dict]]:
    """Groups of recorded series and groups of alerts; one with both is split."""
    recorded, alerts = [], []
    for group in made["groups"]:
        for into, wanted in ((recorded, False), (alerts, True)):
            rules = [rule for rule in group["rules"] if ("alert" in rule) == wanted]
            if rules:
                into.append(group | {"rules": rules})
    return recorded, alerts


def build(made: dict, dashboards: list[str]) -> dict[str, str]:
    """The files of the mixin."""
    recorded, alerts = _split(made)
    boards = "\n".join(f"    '{name}': configured(import '../../{name}')," for name in sorted(dashboards) if name.endswith(".json"))
    return {
        "mixin.libsonnet": MIXIN,
        "config.libsonnet": CONFIG,
        "alerts/alerts.libsonnet": ALERTS,
        "alerts/alerts.json": json.dumps(alerts, indent=2, ensure_ascii=False) + "\n",
        "rules/rules.libsonnet": RULES,
        "rules/rules.json": json.dumps(recorded, indent=2, ensure_ascii=False) + "\n",
        "dashboards/dashboards.libsonnet": DASHBOARD % boards,
        "jsonnetfile.json": json.dumps({"version": 1, "dependencies": [], "legacyImports": False}, indent=2) + "\n",
    }


def prometheus_rule(made: dict) -> dict:
    """The rules as the Prometheus operator reads them."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "delivery-exporter",
            "labels": {"app.kubernetes.io/name": "delivery-exporter", "prometheus": "k8s", "role": "alert-rules"},
        },
        "spec": made,
    }
