"""E-mail, for the owner of the sender reputation: are we within the mailbox providers' limits?"""

from .panels import REASONS, Board, Column, Panel, Query, Row, Steps
from .queries import LABELS, grown, largest, per_bar, share

MAIL = 'channel="email"'
APP = "application, account"
NAME = "{{application}} ({{account}})"
# Amazon SES reviews senders from 5 % on and stops them at 10 %; Google asks for less than 0.1 % and never 0.3 %.
BOUNCES: Steps = [(None, "green"), (0.05, "orange"), (0.1, "red")]
COMPLAINTS: Steps = [(None, "green"), (0.001, "orange"), (0.003, "red")]
# A complaint is one in a thousand: fewer sends say nothing of it.
LEAST = 1000
LEAST_HOUR = 300


def _day(family: str, *matchers: str, floor: int = LEAST) -> str:
    return share(grown(family, APP, LABELS, MAIL, *matchers, window="1d"), grown("delivery_sent_total", APP, LABELS, MAIL, window="1d"), floor)


def _limits() -> Row:
    top = largest(20, APP, "delivery_sent_total", LABELS, MAIL)
    # Alerts judge an hour too: a campaign that bounces has to be stopped before it spoils the day.
    hour = share(
        grown("delivery_bounces_total", APP, LABELS, MAIL, 'kind="hard"', window="1h"), grown("delivery_sent_total", APP, LABELS, MAIL, window="1h"), LEAST_HOUR,
    )
    hard, complaints, leaving = _day("delivery_bounces_total", 'kind="hard"'), _day("delivery_complaints_total"), _day("delivery_unsubscribed_total")
    return Row("Within the limits of the mailbox providers?", [
        Panel(
            "table", "Applications, last 24 hours",
            "Hard bounces, complaints and unsubscribes by sent within 24 hours, of at least 1000 sends; hard bounces also within the last hour, of at least 300. "
            "DeliveryHardBounces judges both. Amazon SES reviews senders from 5 % hard bounces on and suspends them at 10 %. "
            "Google asks for less than 0.1 % complaints and never 0.3 %. The providers' own denominators differ from these.",
            [
                Query(grown("delivery_sent_total", APP, LABELS, MAIL, window="1d"), "sent"), Query(hard, "hard"), Query(hour, "hour"), Query(complaints, "complaints"), Query(leaving, "leaving"),
                Query(_day("delivery_delivered_total"), "delivered"),
            ],
            width=24, height=6, bounds=(0, 100),
            columns=[
                Column("application", "Application", 200), Column("account", "Account", 200), Column("sent", "Sent", 130, "locale", 0),
                Column("hard", "Hard bounces", 160, "percentunit", 2, steps=BOUNCES), Column("hour", "Hard, last hour", 170, "percentunit", 2, steps=BOUNCES),
                Column("complaints", "Complaints", 160, "percentunit", 3, steps=COMPLAINTS),
                Column("leaving", "Unsubscribed", 160, "percentunit", 2), Column("delivered", "Delivered", None, "percentunit", 1, gauge=True),
            ],
            sort=[("Hard bounces", True)],
        ),
        Panel(
            "line", "Hard bounces", "Hard bounces by sent, within 24 hours. The dashed lines are Amazon SES's limits: 5 % and 10 %. Possible: 0 to 100 %.",
            [Query(hard + top, NAME)], "percentunit", 8, 9, BOUNCES, soft_max=0.12, limits=True,
        ),
        Panel(
            "line", "Complaints", "Complaints by sent, within 24 hours. The dashed lines are Google's limits: 0.1 % and 0.3 %. Possible: 0 to 100 %.",
            [Query(complaints + top, NAME)], "percentunit", 8, 9, COMPLAINTS, decimals=2, soft_max=0.0035, limits=True,
        ),
        Panel(
            "line", "Unsubscribed", "Recipients who unsubscribed, by sent, within 24 hours. There is no limit.",
            [Query(leaving + top, NAME)], "percentunit", 8, 9, bounds=(0, 100), soft_max=0.005,
        ),
    ])


def _counts() -> Row:
    top = largest(20, APP, "delivery_sent_total", LABELS, MAIL)

    def bars(title: str, description: str, family: str, by: str, name: str) -> Panel:
        query = Query(per_bar(family, by, LABELS, MAIL) + (top if by == APP else ""), name)
        return Panel("bars", title, description, [query], "short", 8, 9, overrides=REASONS if by == "kind" else None)

    return Row("Volume and errors", [
        bars("Sent", "E-mails. For Infobip: e-mails with a first report.", "delivery_sent_total", APP, NAME),
        bars("Delivered", "E-mails that the mailbox provider accepted.", "delivery_delivered_total", APP, NAME),
        bars("Bounces by kind", "hard: permanent, for example because the address does not exist; soft: temporary.", "delivery_bounces_total", "kind", "{{kind}}"),
    ])


def _details() -> list[Row]:
    reports = [
        Panel(
            "line", "Time to the final report", "50 %, 90 % and 99 % of the e-mails of the last hour had their final report within this time.",
            [Query(f"histogram_quantile({quantile}, {grown('delivery_report_latency_seconds_bucket', 'le', LABELS, MAIL, window='1h')})", name) for quantile, name in ((0.5, "median"), (0.9, "90 %"), (0.99, "99 %"))],
            "s", 8, 9,
        ),
        Panel("bars", "Reports by status", "A message can have several. The nine most frequent.", [Query(per_bar("delivery_reports_total", "status_group, status") + largest(9, "status_group, status", "delivery_reports_total", LABELS), "{{status_group}} {{status}}")], "short", 16, 9),
        Panel("bars", "Reports with an error", "By error; the nine most frequent.", [Query(per_bar("delivery_reports_total", "error_group, error, permanent", LABELS, 'error_group!="OK"') + largest(9, "error_group, error, permanent", "delivery_reports_total", LABELS, 'error_group!="OK"'), "{{error}} permanent={{permanent}}")], "short", 24, 9),
        Panel("bars", "Cost", "What the vendor charged, by currency.", [Query(per_bar("delivery_report_cost_total", f"{APP}, currency"), NAME + " {{currency}}")], "short", 12, 9, decimals=2),
        Panel("bars", "Confirmed", "E-mails whose reading was confirmed.", [Query(per_bar("delivery_confirmed_total", APP, LABELS, MAIL), NAME)], "short", 12, 9),
    ]
    return [
        Row("Infobip: reports, time and cost", reports, closed=True),
        Row("Errors and addresses", [
            Panel("bars", "Errors by reason", "Failed sends of e-mails.", [Query(per_bar("delivery_errors_total", "reason", LABELS, MAIL), "{{reason}}")], "short", 12, 9),
            Panel("bars", "Bounced addresses (Pushwoosh)", "Each bounce once, by class of reason; the 12 most frequent.", [Query(per_bar("delivery_bounced_addresses_total", "kind, reason") + largest(12, "kind, reason", "delivery_bounced_addresses_total", LABELS), "{{kind}} {{reason}}")], "short", 12, 9),
        ], closed=True),
    ]


def board() -> Board:
    """E-mail."""
    return Board(
        "delivery-email", "Delivery / E-mail",
        "For the owner of the sender reputation: bounces and complaints against the mailbox providers' limits.",
        [_limits(), _counts(), *_details()], window=False,
    )
