"""The recording rules and alerts, as Prometheus reads them.

How a drop is judged. The smallest part of an application's traffic that has a rate of its own is a vendor
channel of one platform at one age of its messages; where a vendor has no such breakdown, it is the application's
channel. For each part, what should have been delivered is what was sent times the part's own rate over the last
two weeks. The difference to what was delivered, over all parts of an application (so at equal mix), is measured in
standard deviations: those of the recipients (the score test, whose confidence interval is Wilson's) and those of
the messages (recipients of one message are not independent), times the spread that the application itself has had.
A drop is alerted on when it is significant, large, and worth waking somebody, all three.
"""

import promql_parser as promql

from . import delivery_alerts, exporter_alerts, families, objectives, recorded
from .writing import RUNBOOK_BASE, Rules, Scale


def build(
    factor: int = 1,
    limits: dict[str, float] | None = None,
    runbook_base: str = RUNBOOK_BASE,
    wanted: tuple[objectives.Objective, ...] = (),
) -> dict:
    """The file of rules, with all durations divided by `factor`."""
    families.RECORDED.clear()
    rules = Rules(Scale(factor), runbook_base)
    recorded.volumes(rules)
    recorded.cohorts(rules)
    recorded.past(rules)
    recorded.shortfalls(rules)
    delivery_alerts.rate_alerts(rules)
    delivery_alerts.error_alerts(rules)
    delivery_alerts.mail_alerts(rules)
    delivery_alerts.volume_alerts(rules)
    exporter_alerts.exporter_alerts(rules)
    delivery_alerts.settings(rules, limits or {})
    objectives.objectives(rules, wanted)
    return {"groups": rules.groups}


def of_objectives(wanted: tuple[objectives.Objective, ...]) -> dict:
    """Only the rules of objectives, for the tests."""
    rules = Rules(Scale())
    objectives.objectives(rules, wanted)
    return {"groups": rules.groups}


_COMPARISONS = ("<", ">", "<=", ">=", "==", "!=")


def alerts(made: dict, shipped: dict) -> list[dict]:
    """Each alert, and what it compares, without the comparisons: that has to give something where there is data.
    Some are there only where a setting asks for them."""
    always = {rule["alert"] for group in shipped["groups"] for rule in group["rules"] if "alert" in rule}
    return [
        {
            "name": rule["alert"],
            "optional": rule["alert"] not in always,
            "runbook": rule["annotations"]["runbook_url"],
            "operands": _operands(promql.parse(rule["expr"])),
        }
        for group in made["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def _operands(expression) -> list[str]:
    if isinstance(expression, promql.NumberLiteral):
        return []
    inner: list = []
    if isinstance(expression, promql.BinaryExpr):
        inner = [expression.lhs] if str(expression.op) == "unless" else [expression.lhs, expression.rhs]
        if str(expression.op) in (*_COMPARISONS, "and", "unless"):
            return [found for own in inner for found in _operands(own)]
    elif isinstance(expression, (promql.AggregateExpr, promql.ParenExpr, promql.UnaryExpr)):
        inner = [expression.expr]
    elif isinstance(expression, promql.Call):
        inner = list(expression.args)
    found = [operand for own in inner for operand in _operands(own)]
    # If nothing below is compared, the whole expression is queried.
    return found if any(_compares(own) for own in inner) else [str(expression)]


def _compares(expression) -> bool:
    if isinstance(expression, promql.BinaryExpr):
        if str(expression.op) in (*_COMPARISONS, "and", "unless"):
            return True
        return _compares(expression.lhs) or _compares(expression.rhs)
    if isinstance(expression, (promql.AggregateExpr, promql.ParenExpr, promql.UnaryExpr)):
        return _compares(expression.expr)
    if isinstance(expression, promql.Call):
        return any(_compares(own) for own in expression.args)
    return False
