"""Judges the Helm chart and the plain manifests: linted, rendered and packed by Helm itself, and checked against
Kubernetes' schemas. Prints what was rendered as JSON; what is wrong goes to standard error, with exit status 1.

The Prometheus operator's objects are checked by operator.mjs, and what the objects say by kubernetes.rs.
"""

import functools
import json
import pathlib
import sys
import tarfile
import tempfile

import helm_python
import kubernetes_validate
import yaml
from kubernetes_validate import utils

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "delivery-exporter"
MANIFESTS = ROOT / "deploy" / "kubernetes"
# Chart.yaml's kubeVersion, and the newest whose schemas there are.
VERSIONS = ("1.25", "1.37")
OPERATOR = "monitoring.coreos.com/"
# Severities of Helm's linter from here on are problems.
WARNING = 2

# Values that have to be refused, and what is said.
REFUSED = {
    "replicas with SQLite": ({"replicaCount": 2}, "replicaCount is 2, but the ledger is an SQLite file"),
    "a contradiction": ({"config": {"store": {"url": "postgres://u@h/d"}}}, "Set store.type=postgresql"),
    "no database": ({"store": {"type": "postgresql"}}, "no database is named"),
    "two databases": (
        {"store": {"type": "postgresql", "postgresql": {"existingSecret": "s"}}, "config": {"store": {"url_file": "f"}}},
        "The database is configured twice",
    ),
    "a database for an unknown configuration": (
        {"store": {"type": "postgresql", "postgresql": {"existingSecret": "s"}}, "configExistingSecretName": "c"},
        "cannot be put into a configuration",
    ),
    "one volume for two": (
        {
            "replicaCount": 2,
            "store": {"type": "postgresql", "postgresql": {"existingSecret": "s"}},
            "persistence": {"existingClaim": "c"},
        },
        "is a single volume",
    ),
    "a job that alerts do not find": (
        {"nameOverride": "dx", "serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
        'need "delivery" in the name of the job',
    ),
    "a budget in two ways": (
        {
            "replicaCount": 2,
            "store": {"type": "postgresql", "postgresql": {"existingSecret": "s"}},
            "podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 0},
        },
        "not both",
    ),
    # By values.schema.json.
    "an unknown value": ({"replicas": 3}, "replicas"),
    "an unknown section of the configuration": ({"config": {"provider": []}}, "provider"),
    "a secret that is no text": ({"secrets": {"a": 1}}, "secrets"),
    "a replica and a half": ({"replicaCount": 1.5}, "replicaCount"),
    "a store of another kind": ({"store": {"type": "mysql"}}, "store"),
}

# Reading the definitions takes half a second, and they are the same for each object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def problem(text: str) -> None:
    """Remembers that something is wrong, and says so."""
    problems.append(text)
    print(text, file=sys.stderr)


problems: list[str] = []


def documents(text: str) -> list[dict]:
    """The objects of a manifest."""
    return [document for document in yaml.safe_load_all(text) if document]


def validate(where: str, document: dict) -> None:
    """Checks an object against Kubernetes' schemas."""
    if document["apiVersion"].startswith(OPERATOR):
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = "/".join(map(str, error.path))
            problem(f"{where}, Kubernetes {version}: {document['kind']} {place}: {error.message}")


def lint(name: str, values: dict) -> None:
    """Helm's own linter, strict."""
    report = helm_python.lint(CHART, values, strict=True)
    for message in report["messages"]:
        if message["severity"] >= WARNING:
            problem(f"{name}: {message}")
    for error in report["errors"]:
        problem(f"{name}: {error}")


def refusals(chart: helm_python.Chart) -> None:
    """Values that contradict each other or are none."""
    for name, (values, words) in REFUSED.items():
        try:
            # As an installation does: the schema, and then the templates.
            chart.validate_schema(values)
            chart.render(values, name="delivery", namespace="monitoring")
        except helm_python.HelmError as error:
            if words not in str(error):
                problem(f"{name}: {words!r} is not in: {error}")
        else:
            problem(f"{name}: is taken")


def packed(chart: helm_python.Chart, values: dict) -> None:
    """The archive holds the rules and dashboards themselves, not links to them, and renders the same."""
    with tempfile.TemporaryDirectory() as directory:
        archive = chart.save(directory)
        with tarfile.open(archive) as files:
            inside = {
                pathlib.PurePath(member.name).name: files.extractfile(member).read()
                for member in files.getmembers()
                if "/files/" in member.name and member.isfile()
            }
            if any("/ci/" in name for name in files.getnames()):
                problem("the archive has the values of tests")
        wanted = [*(ROOT / "dashboards").glob("delivery-*.json"), ROOT / "dashboards" / "alerts" / "delivery.rules.yml"]
        if inside != {path.name: path.read_bytes() for path in wanted}:
            problem(f"the archive has other rules or dashboards than dashboards/: {sorted(inside)}")
        given = {"name": "delivery", "namespace": "monitoring"}
        with helm_python.Chart.load(archive) as again:
            if again.render(values, **given) != chart.render(values, **given):
                problem("the archive renders other objects than the directory")


def schema_can_fail() -> None:
    """A wrong object is found, with each version."""
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"port": []}}
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(wrong, version, strict=True)
        except kubernetes_validate.ValidationError:
            continue
        problem(f"a wrong Service passes the schemas of Kubernetes {version}")


def main() -> int:
    """Judges everything."""
    cases: dict[str, dict] = {}
    with helm_python.Chart.load(CHART) as chart:
        for path in sorted((CHART / "ci").glob("*-values.yaml")):
            values = yaml.safe_load(path.read_text())
            name = path.name.removesuffix("-values.yaml")
            lint(name, values)
            chart.validate_schema(values)
            rendered = chart.render(values, name="delivery", namespace="monitoring")
            notes = rendered.pop("delivery-exporter/templates/NOTES.txt")
            objects = [document for text in rendered.values() for document in documents(text)]
            cases[name] = {"notes": notes, "objects": objects}
            if name == "sqlite":
                packed(chart, values)
        refusals(chart)
        about = chart.metadata
    for path in sorted(MANIFESTS.glob("*.yaml")):
        if not path.name.endswith("-values.yaml"):
            cases[f"deploy/kubernetes/{path.name}"] = {"notes": "", "objects": documents(path.read_text())}
    schema_can_fail()
    for name, case in cases.items():
        for document in case["objects"]:
            validate(name, document)
    print(json.dumps({"chart": about, "cases": cases}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
