"""Overview, for the person on call: is anything wrong, where, since when, and what to do."""

from . import alerts, frame
from .panels import ANY_IS_BAD, REASONS, USUAL, Board, Panel, Query, Row
from .queries import AGE, ALERT, LABELS, cohort_rate, grown, largest, of_usual, per_bar, sends_behind, share

APP = "provider, account, application"


def _now(runbook: str) -> Row:
    worst = f"bottomk(1, {of_usual(APP, window='1h', floor=100)})"
    firing = f'ALERTS{{alertstate="firing",{ALERT},severity="%s"}}'
    return Row("Is anything wrong?", [
        Panel(
            "stat", "Worst application", "The application with the lowest share of its usual delivery in the last hour, at equal age and mix of channels, among those with at least 100 expected deliveries. Empty until there are two days of past.",
            [Query(worst, "{{application}}")], "percentunit", 6, 4, USUAL, bounds=(0, 150), decimals=0, name_shown=True, empty="No past yet",
        ),
        Panel(
            "stat", "Alerts", "Number of firing alerts within the selection.",
            [Query(f"count({firing % 'page'}) or vector(0)", "page"), Query(f"count({firing % 'warning'}) or vector(0)", "warning")],
            "none", 4, 4, ANY_IS_BAD, name_shown=True,
            overrides={"warning": {"thresholds": {"mode": "absolute", "steps": [{"value": None, "color": "green"}, {"value": 1, "color": "orange"}]}}},
        ),
        Panel(
            "stat", "Accounts failing", "Accounts whose last pass got no successful answer from the vendor; their counts do not change.",
            [Query('count(delivery_up{job=~"$job",provider=~"$provider",account=~"$account"} == 0) or vector(0)')],
            "none", 4, 4, ANY_IS_BAD, words={"0": ("none", "green")},
        ),
        Panel(
            "stat", "Delivered at $age", "Delivered by sent, of messages that reached this age within the window. It has no colour, because a good rate differs by application and platform.",
            [Query(cohort_rate(""), "rate")], "percentunit", 5, 4, bounds=(0, 100), decimals=1, sparkline=True,
        ),
        Panel(
            "stat", "Sent in $window", "Messages sent in the window. For Infobip e-mail: messages with a first report.",
            [Query(grown('delivery_sent_total', ''), "sent")], "short", 5, 4, decimals=1, sparkline=True,
        ),
        alerts.panel(runbook),
    ])


def _where() -> Row:
    top = largest(20, APP)
    return Row("Where, and since when", [
        Panel(
            "matrix", "Applications, share of their usual delivery",
            "Deliveries of each application, as a share of what is expected from its own past at the same age and mix of channels. Cells with fewer than 50 expected deliveries are left out. Values above 150 % are shown as 150 %.",
            [Query(of_usual(APP, floor=50) + largest(30, APP), "{{application}} ({{account}})")],
            "percentunit", 24, 10, USUAL, bounds=(0, 150), decimals=0, empty="No past yet: the rules need two days.",
        ),
        Panel(
            "line", "Delivery rate by application", "Delivered by sent, of messages that reached the selected age within the window, so that a new campaign does not look like an outage. The 20 largest applications.",
            [Query(cohort_rate(f"{APP}, channel") + top, "{{application}} {{channel}} ({{account}})")],
            "percentunit", 12, 10, bounds=(0, 100), soft_max=1,
        ),
        Panel(
            "line", "Delivery rate by provider", "The same for each vendor. If all of its applications fall together, the cause is the vendor.",
            [Query(cohort_rate("provider"), "{{provider}}")], "percentunit", 12, 10, bounds=(0, 100), soft_max=1,
        ),
    ])


def _counts() -> Row:
    errors = grown("delivery_errors_total", APP)
    return Row("Volume and errors", [
        Panel(
            "bars", "Sent", "Messages sent, by application: the 20 largest. Each bar counts its own interval.",
            [Query(per_bar("delivery_sent_total", f"{APP}") + largest(20, APP), "{{application}} ({{account}})")], "short", 10, 9,
        ),
        Panel(
            "bars", "Errors by reason", "Failed sends. registration: uninstalled; expired: too late; cloud: FCM, APNs and the like.",
            [Query(per_bar("delivery_errors_total", "reason"), "{{reason}}")], "short", 7, 9, overrides=REASONS,
        ),
        Panel(
            "line", "Errors as a share of sent", "Failed sends of all reasons, divided by the sends within the window or within the window half an hour earlier, whichever is more; at least 30 sends. The 20 largest applications.",
            [Query(share(errors, sends_behind(APP)) + largest(20, APP), "{{application}} ({{account}})")], "percentunit", 7, 9, bounds=(0, 100), soft_max=0.05,
        ),
    ])


def _more() -> list[Row]:
    by = "application, account"
    name = "{{application}} ({{account}})"
    top = largest(9, by)

    def bars(title: str, description: str, *families_: tuple[str, str]) -> Panel:
        return Panel("bars", title, description, [Query(per_bar(f"delivery_{family}_total", by) + top, f"{prefix} {name}".strip()) for family, prefix in families_], "short", 8, 8)

    def users(title: str, family: str, unit: str, description: str) -> Panel:
        query = f'sum by(application, account, platform) (delivery_app_users_{family}{{{LABELS},time_unit="{unit}"}})'
        return Panel("line", title, f"EngageLab: {description}", [Query(query, "{{application}} {{platform}}")], "short", 8, 8)

    return [
        Row("Delivered, displayed, opened", [
            bars("Delivered", "Messages that reached the device or the mailbox provider.", ("delivered", "")),
            bars("Displayed", "Notifications shown, if the vendor reports them.", ("displayed", "")),
            bars("Opened", "Opens or clicks.", ("opened", "")),
            bars("Targeted and accepted", "Intended recipients (EngageLab) and sends that the vendor's server accepted (Alibaba).", ("targeted", "targeted"), ("accepted", "accepted")),
            bars("Not shown and skipped", "Sends to users who switched notifications off, and supplementary SMS that were not needed.", ("unshowable", "unshowable"), ("skipped", "skipped")),
            bars("Dismissed and from the inbox", "Notifications cleared away, and opens from an application's inbox.", ("dismissed", "dismissed"), ("inbox_opened", "inbox")),
            Panel("line", "Messages behind the rates", "Messages that reached the selected age within the window: the rate of a single message says little. The 20 largest applications.", [Query(grown("delivery_cohort_messages_total", by, LABELS, AGE) + largest(20, by), name)], "short", 24, 8),
        ], closed=True),
        Row("Users (EngageLab)", [
            users("Online by hour", "online", "hour", "users online in the newest complete hour."),
            users("Active by day", "active", "day", "active users of the newest complete day."),
            users("New by day", "new", "day", "new users of the newest complete day."),
        ], closed=True),
    ]


def board(runbook: str) -> Board:
    """Delivery as a whole."""
    return Board(
        "delivery-overview", "Delivery / Overview",
        "For the person on call: is anything wrong, where, since when, and what to do. Colours compare with an application's own past, never with a fixed rate.",
        [_now(runbook), _where(), _counts(), *_more()],
        [frame.age_variable()],
    )
