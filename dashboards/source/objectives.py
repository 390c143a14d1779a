"""Objectives (SLO): recording rules and burn-rate alerts, generated from a list; without a list there are none.

Multi-window, multi-burn-rate alerts, as in chapter 5 of the Site Reliability Workbook: a long window shows that the loss
matters, a short one (a twelfth) that it continues. A budget of a tenth cannot burn fourteen times as fast as allowed:
in that case, losing half of what should be delivered counts as fast.
"""

import dataclasses
import pathlib
import re

import yaml

from .recorded import once_an_hour
from .writing import Rules

# How long a window is made of samples; longer ones are made of hourly points.
SHORT = ("5m", "30m", "1h", "2h", "6h")
LONG = ("1d", "3d", "30d")
BY = "provider, account, application, channel"
WHERE = "{{ $labels.provider }}/{{ $labels.account }}/{{ $labels.application }}"
SELECTORS = ("provider", "account", "application", "channel")
# Burn rate, long window, short window.
FAST = ((14.4, "1h", "5m"), (6, "6h", "30m"))
SLOW = ((3, "1d", "2h"), (1, "3d", "6h"))


class Wrong(Exception):
    """An invalid objective."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """A share of sends that must be delivered by an age."""

    name: str
    objective: float
    age: str = "1h"
    provider: str | None = None
    account: str | None = None
    application: str | None = None
    channel: str | None = None
    minimum: float = 500

    def series(self, measure: str) -> str:
        """A counter of the cohorts that it covers."""
        values = {name: getattr(self, name) for name in SELECTORS} | {"age": self.age}
        matchers = ",".join(f'{name}="{value}"' for name, value in values.items() if value is not None)
        return f"delivery_cohort_{measure}_total{{{matchers}}}"


# For the tests, and for the description of the alerts when no objective is set.
EXAMPLE = (Objective("shop-in-an-hour", 0.9, "1h", "infobip_push", application="shop"),)


def read(file: pathlib.Path) -> tuple[Objective, ...]:
    """The list of a file."""
    content = yaml.safe_load(file.read_text()) or {}
    found = []
    for entry in content.get("objectives") or []:
        unknown = set(entry) - {field.name for field in dataclasses.fields(Objective)}
        if unknown:
            raise Wrong(f"{file}: an objective has no {', '.join(sorted(unknown))}")
        if not entry.get("name") or not isinstance(entry.get("objective"), float) or not 0 < entry["objective"] < 1:
            raise Wrong(f"{file}: an objective needs a name and a share between 0 and 1: {entry}")
        if any(not re.fullmatch(r"[^\"\\\n]+", str(entry[key])) for key in ("name", "age", *SELECTORS) if key in entry):
            raise Wrong(f"{file}: quotes and backslashes have no place in {entry}")
        if entry["name"] in {own.name for own in found}:
            raise Wrong(f"{file}: two objectives are called {entry['name']}")
        found.append(Objective(**entry))
    return tuple(found)


def objectives(rules: Rules, wanted: tuple[Objective, ...]) -> None:
    """Records sends, misses and the remaining error budget, and alerts on the burn rate."""
    if not wanted:
        return
    rules.group("delivery-objectives", "1m")
    for own in wanted:
        label = {"objective": own.name}
        there = f"sum by({BY}) ({own.series('sent')}) * 0"
        rules.record("delivery:slo_objective:ratio", f"{there} + {own.objective:g}", label)
        rules.record("delivery:slo_minimum:count", f"{there} + {own.minimum:g}", label)
        for measure in ("sent", "delivered"):
            for window in SHORT:
                rules.record(
                    f"delivery:slo_{measure}:increase{window}",
                    f"sum by({BY}) (increase({own.series(measure)}[{window}]))",
                    label,
                )
    rules.record("delivery:slo_error_budget:ratio", "1 - delivery:slo_objective:ratio")
    for measure in ("sent", "delivered"):
        rules.record(f"delivery:slo_{measure}:hourly", f"delivery:slo_{measure}:increase1h{once_an_hour(rules)}")
        for window in LONG:
            rules.record(
                f"delivery:slo_{measure}:increase{window}", f"sum_over_time(delivery:slo_{measure}:hourly[{window}])"
            )
    for window in SHORT + LONG:
        # A vendor can report more delivered than sent.
        rules.record(
            f"delivery:slo_error:ratio_rate{window}",
            f"clamp_min(1 - delivery:slo_delivered:increase{window} / (delivery:slo_sent:increase{window} > 0), 0)",
        )
    for window in ("1h", "6h", "3d"):
        rules.record(
            f"delivery:slo_burn_rate:ratio{window}",
            f"delivery:slo_error:ratio_rate{window} / delivery:slo_error_budget:ratio",
        )
    rules.record(
        "delivery:slo_error_budget_remaining:ratio30d",
        "1 - delivery:slo_error:ratio_rate30d / delivery:slo_error_budget:ratio",
    )

    def burns(factor: float, long: str, short: str) -> str:
        def above(window: str) -> str:
            error = f"delivery:slo_error:ratio_rate{window}"
            budget = "delivery:slo_error_budget:ratio"
            return f"({error} > {factor:g} * {budget} or {error} > 0.5 + 0.5 * {budget})"

        return f"""(
          {above(long)} and {above(short)}
          and delivery:slo_sent:increase{long} >= delivery:slo_minimum:count
        )"""

    where = f"{WHERE} ({{{{ $labels.channel }}}}), objective {{{{ $labels.objective }}}}"
    rules.alert(
        "DeliveryObjectiveBurnsFast",
        "\n" + " or ".join(burns(*own) for own in FAST),
        "page",
        f"{where}: {{{{ $value | humanizePercentage }}}} of the messages miss the objective, and the error budget is burning fast",
        """
        {{ $value | humanizePercentage }} of the messages that reached the objective's age were not delivered. At this
        rate a large part of the month's error budget is gone within hours.""",
        wait="2m",
        keep="15m",
    )
    rules.alert(
        "DeliveryObjectiveBurnsSlowly",
        "\n" + " or ".join(burns(*own) for own in SLOW),
        "warning",
        f"{where}: {{{{ $value | humanizePercentage }}}} of the messages miss the objective, more than the error budget allows",
        """
        {{ $value | humanizePercentage }} of the messages that reached the objective's age were not delivered. If this
        continues, the month's error budget will be used up before the month ends.""",
        wait="15m",
        keep="1h",
    )
