"""`python -m source` writes the dashboards and rules; `--check` says what is not current."""

import argparse
import json
import pathlib
import sys

import yaml

from . import boards, cases, mixin, objectives, rules
from .writing import RUNBOOK_BASE

HERE = pathlib.Path(__file__).resolve().parents[1]
NOTE = "# Made by dashboards/source; do not change it by hand.\n"


class _Text(yaml.SafeDumper):
    """Queries and descriptions over several lines are written as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Text.add_representer(str, _text)


def yaml_file(content: dict) -> str:
    """A file as Prometheus and promtool read it."""
    return NOTE + yaml.dump(content, Dumper=_Text, sort_keys=False, allow_unicode=True, width=120)


def main() -> int:
    """Writes or checks every file."""
    parser = argparse.ArgumentParser(prog="source", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which files are not current")
    parser.add_argument("--scale", type=int, default=1, help="divide every duration of the rules by this")
    parser.add_argument("--rules", type=pathlib.Path, help="write only the rules, to this file")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="APPLICATION=RATE",
        help="an absolute limit of the delivery rate, such as shop=0.8",
    )
    parser.add_argument(
        "--runbook-base", default=RUNBOOK_BASE, metavar="URL",
        help="where the runbooks are; {alert} in it is the alert's name, else the name follows it (default: %(default)s)",
    )
    parser.add_argument("--alerts", action="store_true", help="print the alerts and what each compares, as JSON")
    parser.add_argument("--selectors", action="store_true", help="print the series that each panel reads, as JSON")
    parser.add_argument(
        "--objectives", type=pathlib.Path, default=HERE / "objectives.yaml", metavar="FILE",
        help="objectives of delivery, as in dashboards/objectives.yaml",
    )
    parser.add_argument(
        "--tests", type=pathlib.Path, metavar="DIRECTORY",
        help="write only the unit tests, each with no more rules than it needs, to this directory",
    )
    flags = parser.parse_args()
    limits = {name: float(rate) for name, rate in (limit.split("=") for limit in flags.limit)}
    # Every alert that there can be.
    whole = rules.build(flags.scale, {"shop": 0.8}, flags.runbook_base, objectives.EXAMPLE)
    names = sorted({rule["alert"] for group in whole["groups"] for rule in group["rules"] if "alert" in rule})
    if flags.alerts:
        shipped = rules.build(flags.scale, {}, flags.runbook_base)
        print(json.dumps(rules.alerts(whole, shipped)))
        return 0
    try:
        made = rules.build(flags.scale, limits, flags.runbook_base, objectives.read(flags.objectives))
    except objectives.Wrong as wrong:
        print(wrong, file=sys.stderr)
        return 1
    content = yaml_file(made)
    dashboards = boards.build(flags.runbook_base, names)
    if flags.selectors:
        print(json.dumps(boards.selectors(dashboards)))
        return 0
    if flags.tests:
        for name, test in cases.pruned(made).items():
            (flags.tests / name).write_text(yaml_file(test))
        return 0
    if flags.rules:
        flags.rules.write_text(content)
        return 0
    files = {HERE / "alerts" / "delivery.rules.yml": content}
    files |= {HERE / "alerts" / "tests" / name: yaml_file(test) for name, test in cases.build([group["name"] for group in made["groups"]]).items()}
    tests = HERE / "alerts" / "tests"
    files[tests / "objectives.rules.yml"] = yaml_file(rules.of_objectives(objectives.EXAMPLE))
    files[tests / "objectives.test.yml"] = yaml_file(cases.of_objectives())
    files |= {tests / name: yaml_file(content) for name, content in cases.of_limits(whole).items()}
    files |= {HERE / name: text for name, text in dashboards.items()}
    files[HERE / "alerts" / "delivery.prometheusrule.yml"] = yaml_file(mixin.prometheus_rule(made))
    files |= {HERE / "mixin" / name: text for name, text in mixin.build(made, list(dashboards)).items()}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if flags.check:
            print(f"{path.relative_to(HERE.parent)} is not current: run `python -m source` in dashboards/", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
    return 1 if flags.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
