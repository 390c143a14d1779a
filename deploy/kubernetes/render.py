"""Renders the plain manifests beside this file from the chart; `--check` says which are not current.

Helm comes as a library from PyPI (tests/requirements.txt): target/python/bin/python deploy/kubernetes/render.py
"""

import argparse
import pathlib
import re
import sys

import helm_python
import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent / "helm" / "delivery-exporter"
NOTE = "# Rendered from deploy/helm/delivery-exporter with {values}; do not change it by hand.\n"
# Without Helm nobody manages the objects, and no command runs its tests.
OF_HELM = re.compile(
    r"\n +(helm\.sh/chart|app\.kubernetes\.io/managed-by): [^\n]*|\n +annotations:\n +#[^\n]*\n +checksum/config: [^\n]*"
)


def manifests(values: dict, name: str, namespace: str) -> dict[str, str]:
    """The chart's templates by path, rendered."""
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(values, name=name, namespace=namespace)


def plain(values_file: pathlib.Path) -> str:
    """All objects in one file, without what is Helm's own."""
    values = yaml.safe_load(values_file.read_text())
    rendered = manifests(values, "delivery-exporter", "monitoring")
    parts = []
    for path, text in sorted(rendered.items()):
        if path.endswith("NOTES.txt") or "/tests/" in path:
            continue
        for part in OF_HELM.sub("", text).split("\n---\n"):
            part = part.strip().removeprefix("---").strip()
            if part:
                parts.append(part)
    return NOTE.format(values=values_file.name) + "\n---\n".join(parts) + "\n"


def main() -> int:
    """Writes or checks every file."""
    parser = argparse.ArgumentParser(prog="render.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which files are not current")
    flags = parser.parse_args()
    stale = 0
    for values_file in sorted(HERE.glob("*-values.yaml")):
        path = HERE / values_file.name.replace("-values", "")
        text = plain(values_file)
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if flags.check:
            print(f"{path} is not current: run deploy/kubernetes/render.py", file=sys.stderr)
        else:
            path.write_text(text)
    return 1 if flags.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
