"""Exporter, for its operator: is everything asked, answered, kept and scraped?"""

from .panels import ANY_IS_BAD, Board, Column, Panel, Query, Row, Steps
from .queries import ACCOUNT, JOB, grown, per_bar, select

ANSWERS = {"1": ("answers", "green"), "0": ("fails", "red")}
LATE: Steps = [(None, "text"), (900, "red")]


def _worst(family: str) -> str:
    return f"min({select(family, JOB)})"


def _now() -> Row:
    age = f"max(time() - ({select('delivery_exporter_due_timestamp_seconds', ACCOUNT)} > 0))"

    def stat(title: str, description: str, expression: str, unit: str, steps: Steps, words=None, empty: str | None = None) -> Panel:
        return Panel("stat", title, description, [Query(expression, title)], unit, 4, 4, steps, words=words, empty=empty, decimals=0)

    good: Steps = [(None, "red"), (1, "green")]
    return Row("Is the exporter healthy?", [
        stat("Accounts failing", "Accounts whose last pass got no successful answer.", 'count(delivery_up{job=~"$job",provider=~"$provider",account=~"$account"} == 0) or vector(0)', "none", ANY_IS_BAD, {"0": ("none", "green")}),
        stat("Most overdue", "How long ago the oldest unanswered query was due. An alert fires above 15 minutes.", f"clamp_min({age}, 0)", "s", [(None, "green"), (900, "red")], {"0": ("nothing", "green")}),
        stat("Ledger", "Whether the store can be written.", _worst("delivery_exporter_store_up"), "none", good, {"1": ("writable", "green"), "0": ("down", "red")}),
        stat("Last reload", "Whether the last reload of the configuration succeeded.", _worst("delivery_exporter_config_last_reload_successful"), "none", good, {"1": ("successful", "green"), "0": ("refused", "red")}),
        stat("Scrapes", "Whether Prometheus scrapes more often than every zero_hold, so that it sees new counters at 0.", _worst("delivery_exporter_zero_hold_sufficient"), "none", good, {"1": ("often enough", "green"), "0": ("too seldom", "red")}),
        stat("Quarantined bodies", "Bodies of reports that could not be parsed; `replay` can retry them.", f"sum({select('delivery_exporter_quarantined_bodies', JOB)})", "none", ANY_IS_BAD, {"0": ("none", "green")}),
    ])


def _accounts() -> Row:
    return Row("Which account, and why", [
        Panel(
            "states", "Accounts", "Whether the last pass with anything due got a successful answer.",
            [Query('max by(account, provider) (delivery_up{job=~"$job",provider=~"$provider",account=~"$account"})', "{{account}} ({{provider}})")], "none", 12, 9, [(None, "red"), (1, "green")], words=ANSWERS,
        ),
        Panel(
            "states", "Data sets", "Whether no query failed in the last pass that included the data set.",
            [Query(f"min by(account, dataset) ({select('delivery_exporter_collect_success', ACCOUNT)})", "{{account}} {{dataset}}")], "none", 12, 9, [(None, "red"), (1, "green")], words={"1": ("good", "green"), "0": ("failed", "red")},
        ),
        Panel(
            "bars", "Failures by reason", "Failed queries of vendors.", [Query(per_bar("delivery_exporter_collect_failures_total", "account, reason", ACCOUNT) + " > 0", "{{account}} {{reason}}")], "short", 12, 9, empty="None",
        ),
        Panel(
            "line", "Overdue", "How long ago the oldest unanswered query was due. The dashed line is the alert's threshold.",
            [Query(f"clamp_min(max by(account, dataset) (time() - ({select('delivery_exporter_due_timestamp_seconds', ACCOUNT)} > 0)), 0)", "{{account}} {{dataset}}")], "s", 12, 9, LATE, soft_max=1000, limits=True,
        ),
    ])


def _closed() -> list[Row]:
    def line(title: str, description: str, *queries: tuple[str, str], unit: str = "short", width: int = 8, **more) -> Panel:
        return Panel("line", title, description, [Query(expression, name) for expression, name in queries], unit, width, 8, **more)

    def bars(title: str, description: str, *queries: tuple[str, str, str], width: int = 8) -> Panel:
        return Panel("bars", title, description, [Query(per_bar(family, by, ACCOUNT) + " > 0", name) for family, by, name in queries], "short", width, 8, empty="None")

    def age_of(family: str, by: str) -> str:
        return f"max by({by}) (time() - ({select(family, ACCOUNT)} > 0))"

    requests = [
        bars("Requests by code", "Answers of the vendors' APIs; a word instead of a number is a transport failure.", ("delivery_exporter_api_requests_total", "account, code", "{{account}} {{code}}"), width=16),
        line("Duration of a pass", "90 % of the passes are shorter.", (f"histogram_quantile(0.9, sum by(account, le) (rate({select('delivery_exporter_collect_duration_seconds_bucket', ACCOUNT)}[$__rate_interval])))", "{{account}}"), unit="s"),
        bars("Retries and limits", "Repeated requests, and requests delayed by a rate limit.", ("delivery_exporter_api_retries_total", "account", "retry {{account}}"), ("delivery_exporter_rate_limited_total", "account", "limited {{account}}")),
        bars("Unknown fields", "Fields in vendors' answers that this version does not know.", ("delivery_exporter_unknown_fields_total", "account, field", "{{account}} {{field}}")),
        line("Time since the last success", "The longest of the account's data sets.", (age_of("delivery_exporter_last_success_timestamp_seconds", "account"), "{{account}}"), unit="s"),
    ]
    found = [
        Panel("states", "Sources of messages", "Whether the list of sent messages could be read.", [Query(f"max by(account, source) ({select('delivery_exporter_discovery_success', ACCOUNT)})", "{{account}} {{source}}")], "none", 12, 8, [(None, "red"), (1, "green")], words={"1": ("read", "green"), "0": ("failed", "red")}),
        line("Time since a source was read", "By source.", (age_of("delivery_exporter_discovery_last_success_timestamp_seconds", "account, source"), "{{account}} {{source}}"), unit="s", width=12),
        bars("Messages found", "New messages, by source.", ("delivery_exporter_discovered_messages_total", "account, source", "{{account}} {{source}}")),
        line("Tracked messages", "Messages whose statistics are queried.", (f"sum by(account) ({select('delivery_exporter_tracked_messages', ACCOUNT)})", "{{account}}")),
        bars("Messages refused", "Messages that the vendor does not know, by its code.", ("delivery_exporter_rejected_messages_total", "account, reason", "{{account}} {{reason}}")),
        bars("Missed cohort ages", "Messages without a number at an age, by reason.", ("delivery_exporter_cohort_missed_total", "account, reason", "{{account}} {{reason}}")),
        bars("Webhook", "Pushed requests, by outcome.", ("delivery_exporter_webhook_requests_total", "account, outcome", "{{account}} {{outcome}}")),
        Panel("table", "Missed cohorts by age", "Messages without a number at each age, within a day.", [Query(grown("delivery_exporter_cohort_missed_total", "account, age, reason", ACCOUNT, window="1d"), "missed")], width=8, height=8, columns=[Column("account", "Account", 150), Column("age", "Age", 70), Column("reason", "Reason"), Column("missed", "Missed", 90, "locale", 0)], sort=[("Missed", True)]),
    ]
    ledger = [
        line("Size", "Bytes of the store, and of reports that wait to be counted.", (select("delivery_exporter_store_size_bytes", JOB), "store {{instance}}"), (select("delivery_exporter_spool_bytes", JOB), "spool {{instance}}"), unit="bytes"),
        Panel("bars", "Errors of the store", "Failed transactions.", [Query(per_bar("delivery_exporter_store_errors_total", "instance", JOB), "{{instance}}")], "short", 8, 8),
        line("Held increments", "New series stay at 0 for zero_hold; these counts are not released yet.", (f"sum by(account) ({select('delivery_exporter_held_increments', ACCOUNT)})", "{{account}}")),
        bars("Decreased vendor counts", "The vendor's count went down; the counter does not move until the count exceeds its previous maximum.", ("delivery_exporter_snapshot_decreases_total", "account", "{{account}}")),
        bars("Duplicate and quarantined reports", "Delivery reports that were received twice, and bodies that could not be parsed.", ("delivery_exporter_reports_duplicate_total", "account", "duplicate {{account}}"), ("delivery_exporter_reports_quarantined_total", "account", "quarantined {{account}}")),
        Panel("states", "Leases", "Which replica holds each account.", [Query(f"max by(account, instance) ({select('delivery_exporter_lease_held', ACCOUNT)})", "{{account}} {{instance}}")], "none", 8, 8, [(None, "text"), (1, "green")], words={"1": ("held", "green"), "0": ("not held", "text")}),
    ]
    output = [
        line("Series", "Series of each account.", (f"sum by(account) ({select('delivery_exporter_series', ACCOUNT)})", "{{account}}")),
        bars("Dropped series", "Series over a limit of the configuration.", ("delivery_exporter_series_dropped_total", "account, reason", "{{account}} {{reason}}")),
        Panel("table", "Dropped series by family", "Within 24 hours.", [Query(grown("delivery_exporter_series_dropped_total", "account, family", ACCOUNT, window="1d") + " > 0", "series")], width=8, height=8, empty="None", columns=[Column("account", "Account", 110), Column("family", "Family"), Column("series", "Series", 80, "locale", 0)], sort=[("Series", True)]),
        Panel("bars", "OTLP points", "Points by the receiver's answer.", [Query(per_bar("delivery_exporter_otlp_points_total", "outcome", JOB), "{{outcome}}")], "short", 8, 8, empty="OTLP is off."),
        Panel("stat", "Configuration loaded", "When the running configuration was loaded.", [Query(f"max({select('delivery_exporter_config_last_reload_success_timestamp_seconds', JOB)}) * 1000", "taken")], "dateTimeFromNow", 8, 8),
        Panel("table", "Version", "The running version.", [Query(f"max by(instance, version, revision) ({select('delivery_exporter_build_info', JOB)})", "one")], width=8, height=8, columns=[Column("instance", "Instance"), Column("version", "Version", 90), Column("revision", "Revision", 110)]),
    ]
    process = [
        line("Memory", "Resident memory.", (select("process_resident_memory_bytes", JOB), "{{instance}}"), unit="bytes"),
        line("CPU", "Share of one processor; several can be busy. Possible: 0 to 6400 %.", (f"rate({select('process_cpu_seconds_total', JOB)}[$__rate_interval])", "{{instance}}"), unit="percentunit"),
        line("Open files and threads", "Open descriptors, their limit, and threads.", (select("process_open_fds", JOB), "files {{instance}}"), (select("process_max_fds", JOB), "limit {{instance}}"), (select("process_threads", JOB), "threads {{instance}}")),
        line("Network", "Bytes per second.", (f"rate({select('process_network_receive_bytes_total', JOB)}[$__rate_interval])", "received {{instance}}"), (f"rate({select('process_network_transmit_bytes_total', JOB)}[$__rate_interval])", "sent {{instance}}"), unit="Bps", width=24),
    ]
    return [
        Row("Requests to vendors", requests, closed=True),
        Row("Messages and ages", found, closed=True),
        Row("Ledger", ledger, closed=True),
        Row("Output", output, closed=True),
        Row("Process", process, closed=True),
    ]


def board() -> Board:
    """The exporter itself."""
    return Board(
        "delivery-exporter", "Delivery / Exporter",
        "For the operator of delivery-exporter: passes, vendor requests, ledger, output and process.",
        [_now(), _accounts(), *_closed()], window=False, application=False,
    )
