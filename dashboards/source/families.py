"""The exporter's families, read from its generated table, and a check of every query against them."""

import json
import pathlib

import promql_parser as promql

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Labels that a scrape adds to those of the families.
TARGET_LABELS = {"job", "instance", "pod"}
# Labels that queries create.
MADE_LABELS = {"le", "severity", "alertname", "alertstate"}


def _load() -> dict[str, set[str]]:
    """The labels of every sample's name."""
    samples: dict[str, set[str]] = {}
    for family in json.loads((ROOT / "docs" / "families.json").read_text()):
        labels = set(family["labels"]) | TARGET_LABELS
        if family["type"] == "histogram":
            samples[family["name"] + "_bucket"] = labels | {"le"}
            samples[family["name"] + "_sum"] = labels
            samples[family["name"] + "_count"] = labels
        else:
            samples[family["name"]] = labels
    return samples


FAMILIES = _load()
# Prometheus's own series.
FAMILIES["up"] = set(TARGET_LABELS)
FAMILIES["ALERTS"] = set().union(*FAMILIES.values()) | MADE_LABELS
FAMILIES["ALERTS_FOR_STATE"] = FAMILIES["ALERTS"]
# Recorded series and their possible labels, filled by the rules.
RECORDED: dict[str, set[str]] = {}


_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def selectors(expression: str) -> list[str]:
    """The series that a query reads, without ranges and offsets."""
    found: list[str] = []

    def walk(node) -> None:
        if isinstance(node, promql.VectorSelector):
            matchers = ",".join(f"{own.name}{_OPERATORS[str(own.op)]}{json.dumps(own.value)}" for own in node.matchers.matchers)
            found.append(f"{node.name}{{{matchers}}}")
        for name in ("vector_selector", "expr", "lhs", "rhs", "param"):
            inner = getattr(node, name, None)
            if hasattr(inner, "prettify"):
                walk(inner)
        for inner in getattr(node, "args", []):
            walk(inner)

    walk(promql.parse(expression))
    return found


class Unknown(Exception):
    """A query uses a name that the exporter does not have."""


def labels_of(name: str) -> set[str]:
    """The labels that a series of this name can have."""
    found = FAMILIES.get(name) or RECORDED.get(name)
    if found is None:
        raise Unknown(f"there is no family or recorded series {name}")
    return found


def check(expression: str) -> set[str]:
    """Checks every name and label of a query, and returns the possible labels of its result."""
    return _walk(promql.parse(expression), expression)


def _grouping(modifier, known: set[str], whole: str) -> None:
    for label in modifier.labels:
        if label not in known:
            raise Unknown(f"no operand has the label {label}: {whole}")


def _walk(expression, whole: str) -> set[str]:
    if isinstance(expression, promql.VectorSelector):
        known = labels_of(expression.name)
        for matcher in expression.matchers.matchers:
            if matcher.name not in known:
                raise Unknown(f"{expression.name} has no label {matcher.name}: {whole}")
        return set(known)
    if isinstance(expression, promql.MatrixSelector):
        return _walk(expression.vector_selector, whole)
    if isinstance(expression, (promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)):
        return _walk(expression.expr, whole)
    if isinstance(expression, promql.AggregateExpr):
        inner = _walk(expression.expr, whole)
        if expression.modifier is None:
            return set()
        _grouping(expression.modifier, inner | TARGET_LABELS, whole)
        labels = set(expression.modifier.labels)
        return labels if expression.modifier.type == promql.AggModifierType.By else inner - labels
    if isinstance(expression, promql.Call):
        results = [_walk(argument, whole) for argument in expression.args]
        labels = set().union(*results) if results else set()
        if expression.func.name in ("label_replace", "label_join"):
            labels.add(expression.args[1].val)
        return labels
    if isinstance(expression, promql.BinaryExpr):
        left, right = _walk(expression.lhs, whole), _walk(expression.rhs, whole)
        matching = expression.modifier and expression.modifier.matching
        if matching is not None:
            _grouping(matching, left | right | TARGET_LABELS, whole)
        return left if str(expression.op) in ("and", "unless") else left | right
    return set()
