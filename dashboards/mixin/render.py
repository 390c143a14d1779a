"""Renders the mixin, and checks that with its own configuration it is the rules, the manifest and the dashboards
that are shipped. Prints it as JSON.

    python mixin/render.py
"""

import json
import pathlib
import sys

import _gojsonnet
import yaml

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE.parent / "alerts" / "delivery.rules.yml"
MANIFEST = HERE.parent / "alerts" / "delivery.prometheusrule.yml"
WHOLE = """
local mixin = (import 'mixin.libsonnet') + %s;
{
  groups: mixin.prometheusRules.groups + mixin.prometheusAlerts.groups,
  grafanaDashboards: mixin.grafanaDashboards,
}
"""


def render(more: str) -> dict:
    """The mixin with a change of its configuration."""
    return json.loads(_gojsonnet.evaluate_snippet("whole", WHOLE % more, jpathdir=[str(HERE)]))


def by_group(groups: list[dict]) -> dict[str, list[dict]]:
    """The rules of each group: the mixin has the recorded ones apart."""
    found: dict[str, list[dict]] = {}
    for group in groups:
        found.setdefault(group["name"], []).extend(group["rules"])
    return found


def main() -> int:
    """Compares, and prints what it has rendered."""
    shipped = yaml.safe_load(RULES.read_text())["groups"]
    if yaml.safe_load(MANIFEST.read_text())["spec"]["groups"] != shipped:
        print("the PrometheusRule has other rules", file=sys.stderr)
        return 1
    rendered = render("{}")
    if by_group(rendered["groups"]) != by_group(shipped):
        print("the mixin has other rules", file=sys.stderr)
        return 1
    for name, board in rendered["grafanaDashboards"].items():
        if {"tags": []} | json.loads((HERE.parent / name).read_text()) != board:
            print(f"the mixin has another {name}", file=sys.stderr)
            return 1
    changed = render("""{ _config+:: {
      runbookURLPattern: 'https://runbooks.example.com/%s', severities+: { page: 'critical' }, dashboardTags: ['mine'],
    } }""")
    for rule in (rule for group in changed["groups"] for rule in group["rules"] if "alert" in rule):
        if rule["annotations"]["runbook_url"] != f"https://runbooks.example.com/{rule['alert']}":
            print(f"the configuration does not reach {rule['alert']}", file=sys.stderr)
            return 1
    severities = {rule["labels"]["severity"] for group in changed["groups"] for rule in group["rules"] if "alert" in rule}
    if severities != {"critical", "warning"} or any("mine" not in own["tags"] for own in changed["grafanaDashboards"].values()):
        print("the configuration does not reach severities and tags", file=sys.stderr)
        return 1
    json.dump(rendered, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
