"""The dashboards, made with Grafana's foundation SDK."""

import dataclasses
import itertools
import json
import re

from grafana_foundation_sdk.builders import (
    bargauge,
    common as common_builders,
    dashboard,
    prometheus,
    stat,
    statushistory,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard as models, prometheus as prometheus_models

from . import families

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "delivery-exporter"

# What every query is narrowed down to, by the labels that its family has.
LABELS = 'job=~"$job",provider=~"$provider",account=~"$account",application=~"$application"'
ACCOUNT = 'job=~"$job",account=~"$account"'
JOB = 'job=~"$job"'
# Vendors whose numbers come once a day have no age of an hour, but a first state.
AGE = 'age=~"$age|first"'

# Of Prometheus, of /probe alone, or of no use on a picture.
NOT_SHOWN = ("up", "probe_success", "probe_duration_seconds", "process_start_time_seconds", "process_virtual_memory_bytes")


@dataclasses.dataclass
class Panel:
    """A panel: what it shows, in which unit, and from where on it is bad."""

    kind: str
    title: str
    description: str
    # Query and legend.
    queries: list[tuple[str, str]]
    unit: str = "short"
    # Value and colour; the first is from the beginning.
    thresholds: list[tuple[float | None, str]] = dataclasses.field(default_factory=lambda: [(None, "green")])
    width: int = 8
    height: int = 7
    stacked: bool = False
    top: float | None = None


@dataclasses.dataclass
class Board:
    """A dashboard: rows of panels."""

    uid: str
    title: str
    description: str
    rows: list[tuple[str, list[Panel]]]
    # Variables beside datasource, job, provider, account and application: name, label, query, with "all".
    variables: list[tuple[str, str, str, bool]] = dataclasses.field(default_factory=list)


AGE_VARIABLE = ("age", "Age of the messages", "label_values(delivery_cohort_sent_total, age)", False)
LOW_IS_BAD = [(None, "red"), (0.7, "yellow"), (0.85, "green")]
SHARE_IS_BAD = [(None, "green"), (0.02, "yellow"), (0.1, "red")]
ONE_IS_GOOD = [(None, "red"), (1, "green")]
ANY_IS_BAD = [(None, "green"), (1, "red")]


def rate(family: str, by: str, more: str = "", of: str = LABELS) -> str:
    """Growth a second, over all replicas."""
    matchers = ",".join(part for part in (of, more) if part)
    return f"sum by({by}) (rate({family}{{{matchers}}}[$__rate_interval]))"


def grown(family: str, by: str, more: str = "", of: str = LABELS, window: str = "$window") -> str:
    """Growth in a window, over all replicas."""
    matchers = ",".join(part for part in (of, more) if part)
    return f"sum by({by}) (increase({family}{{{matchers}}}[{window}]))"


def cohort(by: str, breakdown: bool = False, more: str = "") -> str:
    """The delivery rate of messages of equal age."""
    family = "delivery_cohort_channel" if breakdown else "delivery_cohort"
    matchers = ",".join(part for part in (AGE, more) if part)
    return (
        f"{grown(f'{family}_delivered_total', by, matchers)}"
        f" / ({grown(f'{family}_sent_total', by, matchers)} > 0)"
    )


def overview() -> Board:
    """Delivery as a whole."""
    by = "provider, application"
    return Board(
        "delivery-overview",
        "Delivery / Overview",
        "Delivery of push notifications and e-mail over all vendors.",
        [
            ("Now", [
                Panel("stat", "Delivery rate", "Delivered by sent of messages of the chosen age, over all that is chosen above.",
                      [(f"sum(increase(delivery_cohort_delivered_total{{{LABELS},{AGE}}}[$window])) / sum(increase(delivery_cohort_sent_total{{{LABELS},{AGE}}}[$window]))", "")],
                      "percentunit", LOW_IS_BAD, 4, 5),
                Panel("stat", "Sent", "Messages sent in the window.", [(f"sum(increase(delivery_sent_total{{{LABELS}}}[$window]))", "")], "short", width=4, height=5),
                Panel("stat", "Errors by sent", "All reasons, as a share of what was sent in the window.",
                      [(f"sum(increase(delivery_errors_total{{{LABELS}}}[$window])) / sum(increase(delivery_sent_total{{{LABELS}}}[$window]))", "")],
                      "percentunit", SHARE_IS_BAD, 4, 5),
                Panel("stat", "Accounts without an answer", "Accounts whose last pass got no good answer from the vendor.",
                      [(f'count(delivery_up{{job=~"$job",account=~"$account"}} == 0) or vector(0)', "")], "short", ANY_IS_BAD, 4, 5),
                Panel("table", "What is wrong now", "Alerts of delivery-exporter's rules that fire. Their names are those of the runbooks.",
                      [('ALERTS{alertstate="firing",alertname=~"Delivery.*"}', "")], width=8, height=5),
            ]),
            ("Delivery rate at equal age", [
                Panel("line", "By provider", "Only messages of the chosen age are compared, so that a fresh campaign does not look like an outage.",
                      [(cohort("provider"), "{{provider}}")], "percentunit", LOW_IS_BAD, 12, 8, top=1),
                Panel("line", "By application", "The same for each application and channel.",
                      [(cohort("provider, application, channel"), "{{application}} {{channel}} ({{provider}})")], "percentunit", LOW_IS_BAD, 12, 8, top=1),
            ]),
            ("Volumes", [
                Panel("line", "Sent", "Messages a second. For Infobip e-mail: messages that a first report came for.",
                      [(rate("delivery_sent_total", f"{by}, channel"), "{{application}} {{channel}}")], "ops", stacked=True),
                Panel("line", "Delivered", "Messages a second that reached the device or mailbox provider.",
                      [(rate("delivery_delivered_total", f"{by}, channel"), "{{application}} {{channel}}")], "ops", stacked=True),
                Panel("line", "Messages counted into cohorts", "How many messages the rates above stand on.",
                      [(grown("delivery_cohort_messages_total", by, AGE), "{{application}}")], "short"),
                Panel("line", "Targeted and accepted", "Recipients meant (EngageLab), sends accepted by the vendor's server (Alibaba).",
                      [(rate("delivery_targeted_total", by), "targeted {{application}}"), (rate("delivery_accepted_total", by), "accepted {{application}}")], "ops"),
                Panel("line", "Displayed and opened", "Displays and opens or clicks a second.",
                      [(rate("delivery_displayed_total", by), "displayed {{application}}"), (rate("delivery_opened_total", by), "opened {{application}}")], "ops"),
                Panel("line", "Not shown, cleared, inbox", "Sends to users who switched notifications off, notifications cleared away, opens from an inbox, skipped SMS.",
                      [(rate("delivery_unshowable_total", by), "unshowable {{application}}"), (rate("delivery_dismissed_total", by), "dismissed {{application}}"),
                       (rate("delivery_inbox_opened_total", by), "inbox {{application}}"), (rate("delivery_skipped_total", by), "skipped {{application}}")], "ops"),
            ]),
            ("What went wrong", [
                Panel("line", "Errors by reason", "registration: uninstalled; expired: too late; cloud: FCM, APNs and the like.",
                      [(rate("delivery_errors_total", "reason"), "{{reason}}")], "ops", stacked=True),
                Panel("line", "Errors by sent", "By application and reason, in the window.",
                      [(f"{grown('delivery_errors_total', 'application, reason')} / on(application) group_left() ({grown('delivery_sent_total', 'application')} > 0)", "{{application}} {{reason}}")],
                      "percentunit", SHARE_IS_BAD),
                Panel("line", "Bounces and complaints", "Bounced e-mails by kind, and complaints, a second.",
                      [(rate("delivery_bounces_total", "application, kind"), "{{application}} {{kind}}"), (rate("delivery_complaints_total", "application"), "{{application}} complaints")], "ops"),
            ]),
            ("Users", [
                Panel("line", "Users online by hour", "EngageLab: users online in the newest complete hour.", [(f'sum by(application, platform) (delivery_app_users_online{{{LABELS},time_unit="hour"}})', "{{application}} {{platform}}")]),
                Panel("line", "Users active by day", "EngageLab: active users of the newest complete day.", [(f'sum by(application, platform) (delivery_app_users_active{{{LABELS},time_unit="day"}})', "{{application}} {{platform}}")]),
                Panel("line", "New users by day", "EngageLab: new users of the newest complete day.", [(f'sum by(application, platform) (delivery_app_users_new{{{LABELS},time_unit="day"}})', "{{application}} {{platform}}")]),
            ]),
        ],
        [AGE_VARIABLE],
    )


def channels() -> Board:
    """Vendor channels beside each other."""
    where = "provider, vendor_channel"
    return Board(
        "delivery-channels",
        "Delivery / Vendor channels",
        "FCM, APNs and the handset makers' channels, over all vendors that use them.",
        [
            ("Delivery rate at equal age", [
                Panel("matrix", "Channels over time", "Delivery rate of each vendor channel at the chosen age. A red column is everything, a red row one channel.",
                      [(cohort("provider, application, vendor_channel", True), "{{vendor_channel}} {{application}} ({{provider}})")], "percentunit", LOW_IS_BAD, 24, 12),
                Panel("line", "One channel over all vendors", "A channel that is low at every vendor is in trouble itself.",
                      [(cohort("vendor_channel", True), "{{vendor_channel}}")], "percentunit", LOW_IS_BAD, 12, 8, top=1),
                Panel("line", "By vendor and channel", "A channel that is low at one vendor alone is that vendor's, or the application's credentials.",
                      [(cohort(where, True), "{{vendor_channel}} ({{provider}})")], "percentunit", LOW_IS_BAD, 12, 8, top=1),
            ]),
            ("Traffic", [
                Panel("line", "Share of the traffic", "Sends of each channel, as a share of all.",
                      [(f"{grown('delivery_channel_sent_total', 'vendor_channel')} / scalar(sum(increase(delivery_channel_sent_total{{{LABELS}}}[$window])))", "{{vendor_channel}}")], "percentunit", width=8, stacked=True, top=1),
                Panel("line", "Sent", "Sends a second.", [(rate("delivery_channel_sent_total", where), "{{vendor_channel}} ({{provider}})")], "ops", stacked=True),
                Panel("line", "Delivered", "Deliveries a second.", [(rate("delivery_channel_delivered_total", where), "{{vendor_channel}} ({{provider}})")], "ops", stacked=True),
                Panel("line", "Displayed and opened", "Displays and opens a second.",
                      [(rate("delivery_channel_displayed_total", "vendor_channel"), "displayed {{vendor_channel}}"), (rate("delivery_channel_opened_total", "vendor_channel"), "opened {{vendor_channel}}")], "ops"),
                Panel("line", "Errors and unshowable", "Errors, and sends to users who switched notifications off, a second (Pushwoosh).",
                      [(rate("delivery_channel_errors_total", "vendor_channel"), "errors {{vendor_channel}}"), (rate("delivery_channel_unshowable_total", "vendor_channel"), "unshowable {{vendor_channel}}")], "ops"),
                Panel("line", "Inbox opens", "Opens from the application's inbox (Pushwoosh).", [(rate("delivery_channel_inbox_opened_total", "vendor_channel"), "{{vendor_channel}}")], "ops"),
                Panel("line", "Targeted", "Recipients meant (EngageLab).", [(rate("delivery_channel_targeted_total", "vendor_channel"), "{{vendor_channel}}")], "ops"),
                Panel("line", "Messages behind the rates", "How many messages each channel's rate stands on.", [(grown("delivery_cohort_channel_messages_total", "vendor_channel", AGE), "{{vendor_channel}}")]),
                Panel("line", "Events of the log", "Pushwoosh: events a second by action and platform.", [(rate("delivery_log_events_total", "action, platform, status"), "{{action}} {{platform}} {{status}}")], "ops"),
            ]),
        ],
        [AGE_VARIABLE],
    )


def messages() -> Board:
    """Campaigns, the newest messages, and one message in depth."""
    one = f'{LABELS},message_id=~"$message"'
    wanted = f'{LABELS},campaign=~"$campaign"'
    newest = 'topk(30, delivery_message_{}{{' + wanted + '}})'

    def funnel(measure: str) -> tuple[str, str]:
        return (f"sum(increase(delivery_campaign_{measure}_total{{{wanted}}}[$__range]))", measure)

    def gauge(measure: str, more: str = "") -> str:
        return f"sum by(channel{more}) (delivery_message_{measure}{{{one}}})"

    def leaf(measure: str) -> tuple[str, str]:
        return (f"sum by(platform, vendor_channel) (delivery_message_channel_{measure}{{{one}}})", f"{measure} {{{{vendor_channel}}}}")

    return Board(
        "delivery-messages",
        "Delivery / Messages and campaigns",
        "From targeted to opened, by campaign and by message.",
        [
            ("Campaigns", [
                Panel("bars", "Funnel", "What the chosen campaigns gained in the time that is shown.",
                      [funnel(measure) for measure in ("targeted", "accepted", "sent", "delivered", "displayed", "opened")], width=8, height=9),
                Panel("line", "Sent by campaign", "Sends a second.", [(rate("delivery_campaign_sent_total", "campaign", of=wanted), "{{campaign}}")], "ops", height=9, stacked=True),
                Panel("line", "Delivered by sent", "Of each campaign, over its whole time. It rises while a campaign is being delivered.",
                      [(f"sum by(campaign) (delivery_campaign_delivered_total{{{wanted}}}) / (sum by(campaign) (delivery_campaign_sent_total{{{wanted}}}) > 0)", "{{campaign}}")], "percentunit", LOW_IS_BAD, height=9, top=1),
                Panel("line", "Errors and bounces", "By campaign and reason, a second.",
                      [(rate("delivery_campaign_errors_total", "campaign, reason", of=wanted), "{{campaign}} {{reason}}"), (rate("delivery_campaign_bounces_total", "campaign, kind", of=wanted), "{{campaign}} {{kind}}")], "ops"),
                Panel("line", "Complaints and unsubscribes", "By campaign, a second.",
                      [(rate("delivery_campaign_complaints_total", "campaign", of=wanted), "complaints {{campaign}}"), (rate("delivery_campaign_unsubscribed_total", "campaign", of=wanted), "unsubscribed {{campaign}}")], "ops"),
                Panel("line", "Other measures", "Cleared, unshowable, confirmed, skipped and inbox opens, a second.",
                      [(rate(f"delivery_campaign_{measure}_total", "campaign", of=wanted), measure + " {{campaign}}") for measure in ("dismissed", "unshowable", "confirmed", "skipped", "inbox_opened")], "ops"),
            ]),
            ("Messages", [
                Panel("table", "Largest messages that are tracked", "As of the last pass; click a column to sort.",
                      [(newest.format("sent"), "sent"), (newest.format("delivered"), "delivered"), (newest.format("delivery_ratio"), "ratio")], width=24, height=9),
            ]),
            ("One message", [
                Panel("stat", "Delivery ratio", "Delivered by sent of the chosen message, and the vendor's own figure.",
                      [(gauge("delivery_ratio"), "{{channel}}"), (gauge("reported_delivery_ratio"), "as reported {{channel}}")], "percentunit", LOW_IS_BAD, 6, 7),
                Panel("line", "Course", "Numbers of the chosen message.",
                      [(gauge(measure), measure + " {{channel}}") for measure in ("targeted", "accepted", "sent", "delivered", "displayed", "opened")], width=9),
                Panel("line", "The rest", "The other numbers of the chosen message.",
                      [(gauge("errors", ", reason"), "errors {{reason}}"), (gauge("bounces", ", kind"), "bounces {{kind}}")]
                      + [(gauge(measure), measure + " {{channel}}") for measure in ("dismissed", "inbox_opened", "unshowable", "confirmed", "unsubscribed", "complaints", "skipped")], width=9),
                Panel("line", "By vendor channel", "Numbers of the chosen message by vendor channel.", [leaf(measure) for measure in ("targeted", "sent", "delivered", "displayed", "opened")], width=8),
                Panel("line", "By vendor channel: the rest", "Pushwoosh's other numbers by platform.", [leaf(measure) for measure in ("inbox_opened", "unshowable", "errors")], width=8),
                Panel("line", "By type", "EngageLab: notification, in-app message and other types.",
                      [(f"sum by(message_type) (delivery_message_type_{measure}{{{one}}})", measure + " {{message_type}}") for measure in ("targeted", "sent", "delivered", "displayed", "opened")], width=8),
            ]),
            ("What they did with it", [
                Panel("line", "Canary devices", "EngageLab: how many of the test devices are in each state.", [(f"sum by(message_id, status) (delivery_canary_devices{{{LABELS}}})", "{{message_id}} {{status}}")]),
                Panel("line", "Clicks by link", "Pushwoosh: the most clicked links.", [(f"topk(20, delivery_link_clicks{{{LABELS}}})", "{{title}} {{link}}")]),
                Panel("line", "Devices by link", "Pushwoosh: distinct devices that clicked.", [(f"topk(20, delivery_link_devices{{{LABELS}}})", "{{link}}")]),
                Panel("line", "Conversions", "Pushwoosh: events after a message.", [(f"sum by(campaign, event) (delivery_conversion_hits{{{LABELS}}})", "{{campaign}} {{event}}")]),
                Panel("line", "Conversion ratio", "Pushwoosh: its own figure, as a ratio.", [(f"max by(message_id, event) (delivery_conversion_ratio{{{LABELS}}})", "{{message_id}} {{event}}")], "percentunit"),
                Panel("line", "Revenue", "Pushwoosh: revenue of the events after a message, in the application's currency.", [(f"sum by(campaign, event) (delivery_conversion_revenue{{{LABELS}}})", "{{campaign}} {{event}}")]),
            ]),
        ],
        [
            ("campaign", "Campaign", "label_values(delivery_campaign_sent_total, campaign)", True),
            ("message", "Message", 'label_values(delivery_message_sent{account=~"$account",application=~"$application"}, message_id)', True),
        ],
    )


def email() -> Board:
    """E-mail."""
    mail = f'{LABELS},channel="email"'
    sent = f"(sum by(application) (increase(delivery_sent_total{{{mail}}}[1d])) > 0)"
    return Board(
        "delivery-email",
        "Delivery / E-mail",
        "Bounces, complaints, time to delivery and cost.",
        [
            ("Reputation", [
                Panel("line", "Hard bounces by sent, of a day", "Amazon SES reviews senders from 5 % on and stops them at 10 %.",
                      [(f'sum by(application) (increase(delivery_bounces_total{{{mail},kind="hard"}}[1d])) / {sent}', "{{application}}")], "percentunit", [(None, "green"), (0.05, "yellow"), (0.1, "red")]),
                Panel("line", "Complaints by sent, of a day", "Google asks for less than 0.1 % and never 0.3 %. The mailbox providers' own denominators differ.",
                      [(f"sum by(application) (increase(delivery_complaints_total{{{mail}}}[1d])) / {sent}", "{{application}}")], "percentunit", [(None, "green"), (0.001, "yellow"), (0.003, "red")]),
                Panel("line", "Unsubscribed by sent, of a day", "Who takes the way out instead of complaining.",
                      [(f"sum by(application) (increase(delivery_unsubscribed_total{{{mail}}}[1d])) / {sent}", "{{application}}")], "percentunit"),
            ]),
            ("Delivery", [
                Panel("line", "Sent, delivered, confirmed", "E-mails a second.",
                      [(rate("delivery_sent_total", "application", of=mail), "sent {{application}}"), (rate("delivery_delivered_total", "application", of=mail), "delivered {{application}}"), (rate("delivery_confirmed_total", "application", of=mail), "confirmed {{application}}")], "ops"),
                Panel("line", "Bounces by kind", "E-mails a second.", [(rate("delivery_bounces_total", "application, kind", of=mail), "{{application}} {{kind}}")], "ops", stacked=True),
                Panel("line", "Errors by reason", "E-mails a second.", [(rate("delivery_errors_total", "application, reason", of=mail), "{{application}} {{reason}}")], "ops", stacked=True),
                Panel("line", "Bounced addresses by reason", "Pushwoosh: each bounce once, by class of reason, in the window.", [(grown("delivery_bounced_addresses_total", "kind, reason"), "{{kind}} {{reason}}")], stacked=True),
                Panel("line", "Reports by status", "Delivery reports a second; a message can have several.", [(rate("delivery_reports_total", "status_group, status"), "{{status_group}} {{status}}")], "ops", stacked=True),
                Panel("line", "Reports by error", "Delivery reports a second with an error.", [(rate("delivery_reports_total", "error_group, error, permanent", 'error_group!="OK"'), "{{error_group}} {{error}} permanent={{permanent}}")], "ops", stacked=True),
            ]),
            ("Time and money", [
                Panel("line", "Time to the final report", "Half, nine tenths and 99 % of the e-mails within the window had their final report within this time.",
                      [(f"histogram_quantile({quantile}, {grown('delivery_report_latency_seconds_bucket', 'le')})", name) for quantile, name in ((0.5, "median"), (0.9, "90 %"), (0.99, "99 %"))], "s", [(None, "green"), (600, "yellow"), (3600, "red")], 12),
                Panel("line", "Cost", "What the vendor charged an hour, by currency.", [(f"3600 * {rate('delivery_report_cost_total', 'application, currency')}", "{{application}} {{currency}}")], width=12),
            ]),
        ],
    )


def exporter() -> Board:
    """The exporter itself."""
    def own(family: str, by: str, of: str = ACCOUNT) -> str:
        return rate(family, by, of=of)

    def process(family: str) -> str:
        return f"{family}{{{JOB}}}"

    return Board(
        "delivery-exporter",
        "Delivery / Exporter",
        "Passes, vendor requests, limits, ledger and OTLP of delivery-exporter.",
        [
            ("Accounts", [
                Panel("history", "Accounts", "1: the last pass got a good answer.", [(f"max by(provider, account) (delivery_up{{{ACCOUNT}}})", "{{account}} ({{provider}})")], thresholds=ONE_IS_GOOD, width=12),
                Panel("history", "Data sets", "1: nothing failed in the last pass that asked for it.", [(f"min by(account, application, dataset) (delivery_exporter_collect_success{{{ACCOUNT}}})", "{{account}} {{application}} {{dataset}}")], thresholds=ONE_IS_GOOD, width=12),
                Panel("line", "Overdue", "How long ago the oldest unanswered query was due; below zero it is due in the future.", [(f"max by(account, dataset) (time() - (delivery_exporter_due_timestamp_seconds{{{ACCOUNT}}} > 0))", "{{account}} {{dataset}}")], "s", [(None, "green"), (900, "red")]),
                Panel("line", "Since the last success", "Of each data set.", [(f"max by(account, dataset) (time() - (delivery_exporter_last_success_timestamp_seconds{{{ACCOUNT}}} > 0))", "{{account}} {{dataset}}")], "s"),
                Panel("line", "Failures by reason", "Failed queries a second.", [(own("delivery_exporter_collect_failures_total", "account, dataset, reason"), "{{account}} {{dataset}} {{reason}}")], "ops"),
                Panel("line", "Duration of a pass", "90 % of the passes are shorter.", [(f"histogram_quantile(0.9, {own('delivery_exporter_collect_duration_seconds_bucket', 'account, le')})", "{{account}}")], "s"),
                Panel("line", "Tracked messages", "Messages that are asked for.", [(f"sum by(account) (delivery_exporter_tracked_messages{{{ACCOUNT}}})", "{{account}}")]),
                Panel("history", "Leases", "1: this replica holds the account.", [(f"max by(account, instance) (delivery_exporter_lease_held{{{ACCOUNT}}})", "{{account}} {{instance}}")], thresholds=ONE_IS_GOOD),
            ]),
            ("Vendor requests", [
                Panel("line", "Requests by code", "Requests a second; what is no number is a transport's failure.", [(own("delivery_exporter_api_requests_total", "account, dataset, code"), "{{account}} {{dataset}} {{code}}")], "reqps"),
                Panel("line", "Retries and limits", "Repeated and limited requests a second.", [(own("delivery_exporter_api_retries_total", "account, dataset"), "retry {{account}} {{dataset}}"), (own("delivery_exporter_rate_limited_total", "account, dataset"), "limited {{account}} {{dataset}}")], "reqps"),
                Panel("line", "Unknown fields", "The vendor's answers changed shape.", [(own("delivery_exporter_unknown_fields_total", "account, field"), "{{account}} {{field}}")], "ops"),
                Panel("history", "Sources of messages", "1: the source could be read.", [(f"max by(account, source) (delivery_exporter_discovery_success{{{ACCOUNT}}})", "{{account}} {{source}}")], thresholds=ONE_IS_GOOD),
                Panel("line", "Messages found", "New messages in the window, by source.", [(grown("delivery_exporter_discovered_messages_total", "account, source", of=ACCOUNT), "{{account}} {{source}}")]),
                Panel("line", "Since a source was read", "By source.", [(f"max by(account, source) (time() - (delivery_exporter_discovery_last_success_timestamp_seconds{{{ACCOUNT}}} > 0))", "{{account}} {{source}}")], "s"),
                Panel("line", "Webhook", "Pushed requests a second, by what became of them.", [(own("delivery_exporter_webhook_requests_total", "account, outcome"), "{{account}} {{outcome}}")], "reqps"),
            ]),
            ("Ledger", [
                Panel("stat", "Store", "1: the ledger can be written.", [(f"min(delivery_exporter_store_up{{{JOB}}})", "")], thresholds=ONE_IS_GOOD, width=4),
                Panel("line", "Size", "Bytes of the store, and of reports that wait to be counted.", [(process("delivery_exporter_store_size_bytes"), "store {{instance}}"), (process("delivery_exporter_spool_bytes"), "spool {{instance}}")], "bytes", width=10),
                Panel("line", "Errors", "Failed transactions a second.", [(f"rate(delivery_exporter_store_errors_total{{{JOB}}}[$__rate_interval])", "{{instance}}")], "ops", width=10),
                Panel("line", "Counted, not yet released", "New series stand at 0 for zero_hold; this is what they hold back.", [(f"sum by(account) (delivery_exporter_held_increments{{{ACCOUNT}}})", "{{account}}")]),
                Panel("line", "Values that fell", "The vendor's numbers went down; counters stand until they are above their highest again.", [(own("delivery_exporter_snapshot_decreases_total", "account"), "{{account}}")], "ops"),
                Panel("line", "Reports: repeated, quarantined", "Repeats of delivery reports, and bodies that could not be read, in the window.", [(grown("delivery_exporter_reports_duplicate_total", "account", of=ACCOUNT), "repeated {{account}}"), (grown("delivery_exporter_reports_quarantined_total", "account", of=ACCOUNT), "quarantined {{account}}")]),
                Panel("line", "Bodies in quarantine", "They wait for `replay`.", [(process("delivery_exporter_quarantined_bodies"), "{{instance}}")], thresholds=ANY_IS_BAD),
                Panel("line", "Ages that were missed", "Messages that have no number at an age, by reason, in the window.", [(grown("delivery_exporter_cohort_missed_total", "account, age, reason", of=ACCOUNT), "{{account}} {{age}} {{reason}}")]),
                Panel("line", "Messages refused", "By reason, in the window.", [(grown("delivery_exporter_rejected_messages_total", "account, reason", of=ACCOUNT), "{{account}} {{reason}}")]),
            ]),
            ("Output", [
                Panel("line", "Series", "Series of each account.", [(f"sum by(account) (delivery_exporter_series{{{ACCOUNT}}})", "{{account}}")]),
                Panel("line", "Series left out", "Over a limit of the configuration, in the window.", [(grown("delivery_exporter_series_dropped_total", "account, family, reason", of=ACCOUNT), "{{account}} {{family}} {{reason}}")]),
                Panel("line", "OTLP points", "Points a second, by what the receiver did with them.", [(rate("delivery_exporter_otlp_points_total", "outcome", of=JOB), "{{outcome}}")], "ops"),
                Panel("stat", "Scraped often enough", "0: a scraper comes less often than zero_hold.", [(f"min(delivery_exporter_zero_hold_sufficient{{{JOB}}})", "")], thresholds=ONE_IS_GOOD, width=4),
                Panel("stat", "Last reload", "1: it was taken.", [(f"min(delivery_exporter_config_last_reload_successful{{{JOB}}})", "")], thresholds=ONE_IS_GOOD, width=4),
                Panel("stat", "Configuration is of", "When the configuration was last taken.", [(f"max(delivery_exporter_config_last_reload_success_timestamp_seconds{{{JOB}}}) * 1000", "")], "dateTimeFromNow", width=4),
                Panel("table", "Version", "What runs.", [(process("delivery_exporter_build_info"), "")], width=12, height=4),
                Panel("line", "Memory", "Resident bytes.", [(process("process_resident_memory_bytes"), "{{instance}}")], "bytes"),
                Panel("line", "CPU", "Seconds a second.", [(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}}")], "percentunit"),
                Panel("line", "Open files and threads", "Descriptors, how many there may be, and threads.", [(process("process_open_fds"), "{{instance}}"), (process("process_max_fds"), "limit {{instance}}"), (process("process_threads"), "threads {{instance}}")]),
                Panel("line", "Network", "Bytes a second.", [(f"rate(process_network_receive_bytes_total{{{JOB}}}[$__rate_interval])", "received {{instance}}"), (f"rate(process_network_transmit_bytes_total{{{JOB}}}[$__rate_interval])", "sent {{instance}}")], "Bps"),
            ]),
        ],
    )


def _plain(expression: str) -> str:
    """A query without Grafana's variables, to be checked."""
    return re.sub(r"\[\$\w+\]", "[5m]", expression)


def _thresholds(panel: Panel):
    steps = [models.Threshold(value=value, color=color) for value, color in panel.thresholds]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _panel(panel: Panel, number: int):
    kinds = {
        "line": timeseries.Panel, "stat": stat.Panel, "table": table.Panel, "bars": bargauge.Panel,
        "matrix": statushistory.Panel, "history": statushistory.Panel,
    }
    built = (
        kinds[panel.kind]()
        .id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .thresholds(_thresholds(panel))
        .span(panel.width)
        .height(panel.height)
    )
    if panel.kind in ("stat", "bars", "matrix", "history"):
        color = models.FieldColorModeId.THRESHOLDS if panel.kind != "bars" else models.FieldColorModeId.PALETTE_CLASSIC
        built = built.color_scheme(dashboard.FieldColor().mode(color))
    if panel.kind == "line":
        built = (
            built.fill_opacity(30 if panel.stacked else 5)
            .show_points(common.VisibilityMode.NEVER)
            .span_nulls(False)
            .min(0)
            .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        )
        if panel.stacked:
            built = built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
        elif len(panel.thresholds) > 1:
            style = common.GraphTresholdsStyleMode.LINE
            built = built.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(style))
        if panel.top is not None:
            built = built.axis_soft_max(panel.top)
        if panel.title == "Overdue":
            built = built.axis_soft_min(-60)
    if panel.kind == "table":
        built = built.no_value("Nothing.")
    for index, (expression, legend) in enumerate(panel.queries):
        families.check(_plain(expression))
        query = (
            prometheus.Dataquery()
            .datasource(DATASOURCE)
            .expr(expression)
            .legend_format(legend or "__auto")
            .ref_id(chr(ord("A") + index))
        )
        if panel.kind in ("table", "stat", "bars"):
            query = query.instant()
        else:
            query = query.range()
        if panel.kind == "table":
            query = query.format(prometheus_models.PromQueryFormat.TABLE)
        built = built.with_target(query)
    if panel.kind == "table":
        hidden = {"Time": True, "__name__": True, "instance": True, "job": True, "alertstate": True}
        merge = models.DataTransformerConfig(id_val="merge", options={})
        names = {f"Value #{chr(ord('A') + index)}": legend for index, (_, legend) in enumerate(panel.queries) if legend}
        organize = models.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": names})
        built = built.with_transformation(merge).with_transformation(organize)
    return built


def _variable(name: str, label: str, query: str, everything: bool):
    family = re.match(r"label_values\((\w+)", query)[1]
    wanted = re.search(r"(\w+)\)$", query)[1]
    if wanted not in families.labels_of(family):
        raise families.Unknown(f"{family} has no label {wanted}: {query}")
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if everything:
        every = models.VariableOption(selected=True, text="All", value="$__all")
        return variable.include_all(True).multi(True).all_value(".*").current(every)
    return variable.current(models.VariableOption(selected=True, text="1h", value="1h"))


def _board(board: Board) -> str:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .refresh("1m")
        .time("now-24h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Delivery dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
            .as_dropdown(False)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in [
        ("job", "Job", "label_values(delivery_exporter_build_info, job)", True),
        ("provider", "Provider", 'label_values(delivery_up{job=~"$job"}, provider)', True),
        ("account", "Account", 'label_values(delivery_up{job=~"$job",provider=~"$provider"}, account)', True),
        ("application", "Application", 'label_values(delivery_sent_total{job=~"$job",account=~"$account"}, application)', True),
        *board.variables,
    ]:
        built = built.with_variable(_variable(*variable))
    built = built.with_variable(
        dashboard.IntervalVariable("window")
        .label("Window")
        .values("15m,1h,6h,1d")
        .current(models.VariableOption(selected=True, text="1h", value="1h"))
    )
    numbers = itertools.count(1)
    for title, panels in board.rows:
        built = built.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            built = built.with_panel(_panel(panel, next(numbers)))
    text = JSONEncoder(sort_keys=True, indent=2).encode(built.build())
    # Grafana's own types read it, and nothing of it is unknown to them.
    again = models.Dashboard.from_json(json.loads(text))
    if JSONEncoder(sort_keys=True, indent=2).encode(again) != text:
        raise ValueError(f"{board.title} is not as Grafana's schema has it")
    return text + "\n"


def build() -> dict[str, str]:
    """File names and contents."""
    boards = [overview(), channels(), messages(), email(), exporter()]
    files = {f"{board.uid}.json": _board(board) for board in boards}
    shown = "".join(files.values())
    unseen = [name for name in families.FAMILIES if name not in shown and not re.search(r"_(sum|count|bucket)$", name)]
    unseen = [name for name in unseen if name not in NOT_SHOWN]
    if unseen:
        raise families.Unknown(f"no dashboard shows {', '.join(unseen)}")
    for text in files.values():
        json.loads(text)
    return files
