"""`python -m source` writes the dashboards and rules; `--check` says what is not current."""

import argparse
import json
import pathlib
import sys

import yaml

from . import boards, cases, rules
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
    flags = parser.parse_args()
    limits = {name: float(rate) for name, rate in (limit.split("=") for limit in flags.limit)}
    made = rules.build(flags.scale, limits, flags.runbook_base)
    content = yaml_file(made)
    if flags.selectors:
        names = [alert["name"] for alert in rules.alerts(made)]
        print(json.dumps(boards.selectors(boards.build(flags.runbook_base, names))))
        return 0
    if flags.alerts:
        print(json.dumps(rules.alerts(made)))
        return 0
    if flags.rules:
        flags.rules.write_text(content)
        return 0
    files = {HERE / "alerts" / "delivery.rules.yml": content}
    files |= {HERE / "alerts" / "tests" / name: yaml_file(test) for name, test in cases.build([group["name"] for group in made["groups"]]).items()}
    names = [alert["name"] for alert in rules.alerts(made)]
    files |= {HERE / name: text for name, text in boards.build(flags.runbook_base, names).items()}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if flags.check:
            print(f"{path.relative_to(HERE.parent)} is not current: run `python -m source` in dashboards/", file=sys.stderr)
        else:
            path.write_text(files[path])
    return 1 if flags.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
