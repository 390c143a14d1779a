"""The table of alerts that fire, with a way from each to its runbook and to its dashboard."""

import re

from ..writing import runbook_url
from .panels import Column, Panel, Query
from .queries import ALERT

# Which dashboard shows what an alert is about, by its name; the first that matches.
BOARDS = (
    ("delivery-objectives", "Objectives", "DeliveryObjective.*"),
    ("delivery-channels", "Channels", "DeliveryRate.*|DeliveryVendor.*|DeliveryCloudErrors|DeliveryAbsoluteLimit.*|DeliveryBelow.*"),
    ("delivery-email", "E-mail", "DeliveryHardBounces|DeliveryComplaints|DeliveryReportsSlow"),
    ("delivery-messages", "Messages", "DeliveryExpiredErrors|DeliveryRegistrationErrors"),
    ("delivery-overview", "Overview", "DeliveryNothingSent|DeliveryVolumeLow|DeliverySendersVanished|DeliveryDaily.*"),
    ("delivery-exporter", "Exporter", "Delivery.*"),
)
LABELS = "severity, alertname, provider, account, application, channel, vendor_channel, reason, dataset, source"
# Of an alert, those that stand in columns of their own.
BY = "severity, alertname, provider, account, application, detail, board"


def check_boards(names: list[str]) -> None:
    """Alerts of deliveries must not fall to the exporter's dashboard by accident."""
    exporters = re.compile(
        "Delivery(Exporter|Account|Credentials|RateLimited|Data|Ledger|Spool|ReportsQuarantined|Series|Otlp|Discovery|Scraped|Reload|Cohorts).*"
    )
    for name in names:
        board = next(uid for uid, _, pattern in BOARDS if re.fullmatch(pattern, name))
        if board == "delivery-exporter" and not exporters.fullmatch(name):
            raise ValueError(f"boards/alerts.py does not say which dashboard the alert {name} belongs to")


def runbook_link(base: str) -> str:
    """The address of a row's runbook."""
    return runbook_url(base, "${__value.raw}")


def query() -> str:
    """Since when each alert has been active, in milliseconds, with its dashboard and what it is about."""
    firing = f'max by({LABELS}) (ALERTS{{alertstate="firing",{ALERT}}})'
    # Not every ruler writes ALERTS_FOR_STATE: then it is now.
    since = f"(max by({LABELS}) (ALERTS_FOR_STATE{{{ALERT}}}) and {firing}) or {firing} * time()"
    expression = f"1000 * ({since})"
    expression = f'label_join({expression}, "detail", " ", "vendor_channel", "reason", "dataset", "source")'
    expression = f'label_replace({expression}, "detail", "$1", "detail", "^ *(.*?) *$")'
    # The last one that matches wins, so the first of the list comes last.
    for uid, _, pattern in reversed(BOARDS):
        expression = f'label_replace({expression}, "board", "{uid}", "alertname", "{pattern}")'
    return f"max by({BY}) ({expression})"


def panel(runbook: str) -> Panel:
    """One wide table, most urgent first."""
    variables = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    here = '/d/${__value.raw}?var-account=${__data.fields["Account"]}&' + variables
    return Panel(
        "table", "Firing alerts",
        "Alerts that fire within the selection. A click on the alert opens its runbook, a click on the dashboard opens it for the account.",
        [Query(query(), "since")],
        width=24, height=8, empty="No alert fires.",
        columns=[
            Column("severity", "Severity", 100, colored=True, words={"page": ("page", "red"), "warning": ("warning", "orange")}),
            Column("since", "Since", 150, unit="dateTimeFromNow", left=True),
            Column("alertname", "Alert (runbook)", 290, link=("Runbook", runbook)),
            Column("application", "Application", 150),
            Column("detail", "Detail"),
            Column("account", "Account", 150),
            Column("provider", "Provider", 150),
            Column("board", "Dashboard", 120, words={uid: (name, None) for uid, name, _ in BOARDS}, link=("Dashboard", here)),
        ],
        sort=[("Severity", False), ("Since", True)],
    )
