"""Objectives, for the service owner: within the objective, better or worse than last week, and what it costs."""

from .. import families
from . import frame
from .panels import Board, Column, Panel, Query, Row, Steps
from .queries import AGE, LABELS, grown, largest, select, share

SLO = "provider, account, application, channel, objective"
APP = "provider, account, application"
NAME = "{{application}} {{channel}}: {{objective}}"
# Objectives are summed over jobs.
CHOSEN = 'provider=~"$provider",account=~"$account",application=~"$application"'
NONE = "No objective is set: see dashboards/objectives.yaml."
# Rules without objectives record none of these.
LABELS_OF_OBJECTIVES = {"provider", "account", "application", "channel", "objective"}
RECORDED = (
    "delivery:slo_objective:ratio", "delivery:slo_error:ratio_rate30d", "delivery:slo_burn_rate:ratio1h", "delivery:slo_burn_rate:ratio6h",
    "delivery:slo_burn_rate:ratio3d", "delivery:slo_error_budget_remaining:ratio30d",
)
# A burn rate of 1 spends the budget of 30 days in 30 days. The others are those of the alerts.
BURN: Steps = [(None, "green"), (1, "orange"), (6, "red")]
FAST: Steps = [(None, "green"), (1, "orange"), (14.4, "red")]
BUDGET: Steps = [(None, "red"), (0.001, "orange"), (0.25, "green")]
# Points of a rate, this week against last.
CHANGE: Steps = [(None, "red"), (-0.03, "orange"), (-0.01, "text"), (0.01, "green")]


def _slo() -> Row:
    def of(name: str, aggregate: str = "max") -> str:
        return f"{aggregate} by({SLO}) ({select(f'delivery:slo_{name}', CHOSEN)})"

    def burn(window: str, steps: Steps, what: str) -> Panel:
        return Panel(
            "line", f"Burn rate over {window}", f"How fast the error budget is spent: at a burn rate of 1 it lasts exactly 30 days. {what}",
            [Query(of(f"burn_rate:ratio{window}"), NAME)], "none", 8, 8, steps, decimals=1, soft_max=2, limits=True, empty=NONE,
        )

    return Row("Are we within our objective?", [
        Panel(
            "table", "Objectives and error budgets",
            "The objective of each application, its delivery rate over 30 days, the remaining error budget, and the burn rate over one hour, six hours and three days. A budget below 0 is overspent. Possible: -1000 to 100 %.",
            [
                Query(of("objective:ratio"), "objective_rate"), Query(f"1 - {of('error:ratio_rate30d')}", "rate"), Query(f"clamp_min({of('error_budget_remaining:ratio30d')}, -10)", "left"),
                Query(of("burn_rate:ratio1h"), "burn1h"), Query(of("burn_rate:ratio6h"), "burn6h"), Query(of("burn_rate:ratio3d"), "burn3d"),
            ],
            width=24, height=7, empty=NONE,
            columns=[
                Column("application", "Application", 180), Column("account", "Account", 160), Column("objective", "Objective", 200),
                Column("objective_rate", "Objective rate", 130, "percentunit", 1), Column("rate", "Delivered, 30 days", 170, "percentunit", 1),
                Column("left", "Budget left", None, "percentunit", 0, gauge=True, steps=BUDGET),
                Column("burn1h", "Burn 1h", 110, "none", 1, steps=FAST), Column("burn6h", "Burn 6h", 110, "none", 1, steps=BURN),
                Column("burn3d", "Burn 3d", 110, "none", 1, steps=BURN),
            ],
            sort=[("Budget left", False)],
        ),
        burn("1h", FAST, "Above 14.4, one hour takes 2 % of it, and the alert pages."),
        burn("6h", BURN, "Above 6, six hours take 5 % of it."),
        burn("3d", BURN, "Above 1, it will be used up early."),
    ])


def _weeks() -> Row:
    # One value an hour: a minute less than a day holds 24 of them wherever it ends.
    def weekly(family: str, *matchers: str, offset: str = "") -> str:
        offset = f" offset {offset}" if offset else ""
        return f"sum by({APP}) (sum_over_time({select(family, *matchers)}[167h59m]{offset}))"

    def rate(offset: str = "", by: str = APP, window: str = "167h59m") -> str:
        parts = []
        for measure in ("delivered", "sent"):
            shift = f" offset {offset}" if offset else ""
            parts.append(f"sum by({by}) (sum_over_time({select(f'delivery:cohort_{measure}:hourly', LABELS, AGE)}[{window}]{shift}))")
        return share(*parts)

    def daily(offset: str) -> str:
        shift = f" offset {offset}" if offset else ""
        return f"sum(sum_over_time({select('delivery:sent:hourly', LABELS)}[23h59m]{shift}))"

    sent, before = weekly("delivery:sent:hourly", LABELS), weekly("delivery:sent:hourly", LABELS, offset="7d")
    all_sent, all_before = (f"sum(sum_over_time({select('delivery:sent:hourly', LABELS)}[167h59m]{shift}))" for shift in ("", " offset 7d"))
    return Row("Better or worse than last week?", [
        Panel(
            "table", "This week and last week",
            "Messages sent and delivery rate at the selected age, over the last seven days and the seven before; the change of the rate is in percentage points. Possible: -100 to 100 %.",
            [
                Query(sent, "sent"), Query(before, "before"), Query(rate(), "rate"), Query(rate("7d"), "rate_before"), Query(f"({rate()}) - ({rate('7d')})", "change"),
            ],
            width=24, height=9, empty="The rules have recorded no full hour yet.",
            columns=[
                Column("application", "Application", 200), Column("account", "Account", 180), Column("provider", "Provider", 180),
                Column("sent", "Sent", 150, "locale", 0), Column("before", "Week before", 150, "locale", 0),
                Column("rate", "Delivered", None, "percentunit", 1, gauge=True), Column("rate_before", "Rate, week before", 170, "percentunit", 1),
                Column("change", "Change", 150, "percentunit", 1, steps=CHANGE),
            ],
            sort=[("Change", False)],
        ),
        Panel(
            "stat", "Delivery rate, change", "The delivery rate of the last seven days at the selected age minus that of the seven days before, in percentage points, over the whole selection. Possible: -100 to 100 %.",
            [Query(f"({rate(by='')}) - ({rate('7d', '')})", "change")], "percentunit", 6, 4, CHANGE, decimals=1, empty="No two weeks yet", at=(0, 9),
        ),
        Panel(
            "stat", "Sent, change", "Messages sent in the last seven days compared with the seven days before. Possible: -100 to 100000 %.",
            [Query(f"{all_sent} / ({all_before} >= 30) - 1", "change")], "percentunit", 6, 5, decimals=1, empty="No two weeks yet", at=(0, 13),
        ),
        Panel(
            "line", "Delivery rate, this week and last week", "Delivered by sent at the selected age within 24 hours, over the whole selection.",
            [Query(rate(by="", window="23h59m"), "this week"), Query(rate("7d", "", "23h59m"), "a week earlier")], "percentunit", 9, 9, bounds=(0, 100), from_zero=False, empty="The rules have recorded no full hour yet.", at=(6, 9),
        ),
        Panel(
            "line", "Sent per day, this week and last week", "Messages sent within 24 hours.",
            [Query(daily(""), "this week"), Query(daily("7d"), "a week earlier")], "short", 9, 9, empty="The rules have recorded no full hour yet.", at=(15, 9),
        ),
    ])


def _cost() -> Row:
    cost = "delivery_report_cost_total"
    by = "account, currency"
    return Row("What does it cost?", [
        Panel("stat", "Cost, 7 days", "What the vendors charged within seven days, by currency. Only Infobip e-mail reports a cost.", [Query(grown(cost, "currency", LABELS, window="7d"), "{{currency}}")], "none", 6, 7, decimals=2, name_shown=True, empty="No vendor reports a cost."),
        Panel(
            "stat", "Cost per thousand delivered", "The cost of seven days divided by the deliveries of the same accounts.",
            [Query(f"1000 * {grown(cost, 'currency', LABELS, window='7d')} / on() group_left() (sum(increase({select('delivery_delivered_total', LABELS)}[7d]) and on(account) sum by(account) ({select(cost, LABELS)})) >= 1)", "{{currency}}")],
            "none", 6, 7, decimals=2, name_shown=True, empty="No vendor reports a cost.",
        ),
        Panel("line", "Cost per day", "What each account's vendor charged within the last 24 hours.", [Query(grown(cost, by, LABELS, window="1d") + largest(20, by, cost, LABELS), "{{account}} {{currency}}")], "none", 12, 7, decimals=2, empty="No vendor reports a cost."),
    ])


def board() -> Board:
    """Objectives, weeks and cost."""
    for name in RECORDED:
        families.RECORDED.setdefault(name, set()).update(LABELS_OF_OBJECTIVES)
    return Board(
        "delivery-objectives", "Delivery / Objectives",
        "For the service owner: are we within our objective, better or worse than last week, and what does it cost?",
        [_slo(), _weeks(), _cost()], [frame.age_variable("1h")], window=False, since="now-7d",
    )
