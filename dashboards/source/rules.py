"""The recording rules and alerts, as Prometheus reads them.

How a drop is judged. The smallest part of an application's traffic that has a rate of its own is a vendor
channel of one platform at one age of its messages; where a vendor has no such breakdown, it is the application's
channel. For each part, what should have been delivered is what was sent times the part's own rate over the last
two weeks. The difference to what was delivered, over all parts of an application (so at equal mix), is measured in
standard deviations: those of the recipients (the score test, whose confidence interval is Wilson's) and those of
the messages (recipients of one message are not independent), times the spread that the application itself has had.
A drop is alerted on when it is significant, large, and worth waking somebody, all three.
"""

import dataclasses
import re

import promql_parser as promql

from . import families

RUNBOOKS = "https://github.com/delivery-exporter/delivery-exporter/blob/main/docs/runbooks"

# How much messages differ in their delivery rate, as a share of it, where nothing is broken.
BETWEEN_MESSAGES = 0.05
# Ages that are early enough to wake somebody for; the later ones are the net for throttled sends.
EARLY = r'age=~"first|[0-9]+[sm]|1h"'
LATE = r'age!~"first|[0-9]+[sm]|1h"'
# A takeover moves an account's series to another replica.
REPLICA = "instance, pod"
# What a part has beyond its application.
PARTS = "platform, vendor_channel"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclasses.dataclass
class Scale:
    """Durations as they are, or all of them shorter by one factor, for tests."""

    factor: int = 1

    def text(self, duration: str) -> str:
        """A duration of the rules, such as 1h."""
        if self.factor == 1:
            return duration
        seconds = int(duration[:-1]) * _UNITS[duration[-1]]
        return f"{seconds * 1000 // self.factor}ms"

    def expression(self, text: str) -> str:
        """A query; its durations are written as [1h] and offset 1d."""
        text = re.sub(r"\[(\d+[smhdw])\]", lambda m: f"[{self.text(m[1])}]", text)
        return re.sub(r"offset (\d+[smhdw])", lambda m: f"offset {self.text(m[1])}", text)


def wilson_lower(part: str, whole: str, z: float) -> str:
    """The lower end of Wilson's interval of part / whole at z standard deviations; nothing without volume."""
    share = f"(({part}) / ({whole} > 0))"
    n = f"({whole})"
    squared = z * z
    return (
        f"(({share} + {squared / 2:g} / {n}"
        f" - {z:g} * sqrt(clamp_min({share} * (1 - {share}), 0) / {n} + {squared / 4:g} / {n} ^ 2))"
        f" / (1 + {squared:g} / {n}))"
    )


class Rules:
    """The groups, in the making."""

    def __init__(self, scale: Scale):
        self.scale = scale
        self.groups: list[dict] = []

    def group(self, name: str, interval: str) -> None:
        """What follows is evaluated together."""
        self.groups.append({"name": name, "interval": self.scale.text(interval), "rules": []})

    def record(self, name: str, expression: str) -> None:
        """A recorded series."""
        labels = families.check(expression)
        families.RECORDED[name] = labels | families.RECORDED.get(name, set())
        rule = {"record": name, "expr": self.scale.expression(_tidy(expression))}
        self.groups[-1]["rules"].append(rule)

    def alert(
        self,
        name: str,
        expression: str,
        severity: str,
        summary: str,
        description: str,
        wait: str | None = None,
        keep: str | None = None,
    ) -> None:
        """An alert; `wait` is its `for`."""
        families.check(expression)
        rule = {"alert": name, "expr": self.scale.expression(_tidy(expression))}
        if wait:
            rule["for"] = self.scale.text(wait)
        if keep:
            rule["keep_firing_for"] = self.scale.text(keep)
        rule["labels"] = {"severity": severity}
        rule["annotations"] = {
            "summary": summary,
            "description": _tidy(description),
            "runbook_url": f"{RUNBOOKS}/{name}.md",
        }
        self.groups[-1]["rules"].append(rule)


def _tidy(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(lines) if "\n" in text.strip() else lines[0]


WHERE = "{{ $labels.provider }}/{{ $labels.account }}/{{ $labels.application }}"


def cohorts(rules: Rules) -> None:
    """What was sent and delivered by part, at equal ages."""
    rules.group("delivery-cohorts", "1m")
    for window in ("10m", "15m", "1h", "6h"):
        # The shortest window tells bursts alone.
        for measure in ("sent", "delivered", "messages") if window != "10m" else ("sent",):
            rules.record(
                f"delivery:cohort_{measure}:increase{window}",
                f"""
                label_replace(
                  sum without({REPLICA}) (increase(delivery_cohort_channel_{measure}_total[{window}])),
                  "channel", "push", "", ""
                )
                or (
                  sum without({REPLICA}) (increase(delivery_cohort_{measure}_total[{window}]))
                  unless label_replace(
                    sum without({REPLICA}, {PARTS}) (delivery_cohort_channel_messages_total),
                    "channel", "push", "", ""
                  )
                )""",
            )


def shortfalls(rules: Rules) -> None:
    """What is missing of what the past lets expect, by part, by application and by vendor channel."""
    rules.group("delivery-shortfalls", "1m")
    for window in ("15m", "1h", "6h"):
        rules.record(
            f"delivery:cohort_expected:increase{window}",
            f"delivery:cohort_sent:increase{window} * delivery:cohort_past:ratio14d",
        )
        # Of a part: recipients' variance, and that of the messages.
        rules.record(
            f"delivery:cohort_variance:increase{window}",
            f"delivery:cohort_expected:increase{window}"
            " * clamp_min(1 - delivery:cohort_past:ratio14d, 0.01)",
        )
        for level, without in (("part", None), ("application", PARTS), ("vendor_channel", "application, account, provider")):
            if without is None:
                expected = f"delivery:cohort_expected:increase{window}"
                delivered = f"(delivery:cohort_delivered:increase{window} and {expected})"
                variance = f"delivery:cohort_variance:increase{window}"
                messages = f"(delivery:cohort_messages:increase{window} and {expected})"
            else:
                of = f"{without}, job" if level == "vendor_channel" else without
                some = '{vendor_channel!=""}' if level == "vendor_channel" else ""
                expected = f"sum without({of}) (delivery:cohort_expected:increase{window}{some})"
                delivered = (
                    f"sum without({of}) (delivery:cohort_delivered:increase{window}{some}"
                    f" and delivery:cohort_expected:increase{window})"
                )
                variance = f"sum without({of}) (delivery:cohort_variance:increase{window}{some})"
                # A message goes out by several channels: it is one.
                how = "sum" if level == "vendor_channel" else "max"
                messages = (
                    f"{how} without({of}) (delivery:cohort_messages:increase{window}{some}"
                    f" and delivery:cohort_expected:increase{window})"
                )
            if level == "vendor_channel" and window != "1h":
                continue
            rules.record(f"delivery:{level}_expected:increase{window}", f"{expected} > 0")
            rules.record(
                f"delivery:{level}_missing:increase{window}",
                f"delivery:{level}_expected:increase{window} - ({delivered})",
            )
            rules.record(
                f"delivery:{level}_delivery:ratio{window}",
                f"1 - delivery:{level}_missing:increase{window} / delivery:{level}_expected:increase{window}",
            )
            rules.record(f"delivery:{level}_messages:increase{window}", messages)
            rules.record(
                f"delivery:{level}_missing:score{window}",
                f"""
                delivery:{level}_missing:increase{window}
                / sqrt(
                  {variance}
                  + ({BETWEEN_MESSAGES} * delivery:{level}_expected:increase{window}) ^ 2
                    / clamp_min(delivery:{level}_messages:increase{window}, 1)
                )""",
            )
    # How much of an hour's recipients had their messages within ten minutes: of one large message,
    # however many small ones go out beside it, nearly all.
    rules.record(
        "delivery:application_sent:increase10m", f"sum without({PARTS}) (delivery:cohort_sent:increase10m)"
    )
    rules.record(
        "delivery:application_burst:share1h",
        f"max_over_time(delivery:application_sent:increase10m[1h])"
        f" / (sum without({PARTS}) (delivery:cohort_sent:increase1h) > 0)",
    )
    for level in ("part", "application"):
        rules.record(
            f"delivery:{level}_missing:hourly_score", f"delivery:{level}_missing:score1h{once_an_hour(rules)}"
        )
    # How far an application's usual hours lie apart, beside what chance explains: from nineteen
    # twentieths of them, so that the last outage does not make the next one look usual.
    for level in ("part", "application"):
        rules.record(
            f"delivery:{level}_spread:score14d",
            f"clamp(quantile_over_time(0.95, delivery:{level}_missing:hourly_score[14d] offset 1d) / 1.64, 1, 4)",
        )


def once_an_hour(rules: Rules) -> str:
    """A condition that holds at one evaluation an hour."""
    return f" and on() (vector(time()) % {3600 // rules.scale.factor} < {60 // rules.scale.factor})"


def past(rules: Rules) -> None:
    """What was usual, from hourly points, so that no rule reads two weeks of samples."""
    # Evaluated each minute and kept once an hour, not evaluated once an hour: so it is the same
    # wherever the interval of a group is not heeded, as in promtool's tests.
    rules.group("delivery-hourly", "1m")
    hourly = once_an_hour(rules)
    # Sums of these over days are whole: each hour is in one of them.
    for measure in ("sent", "delivered"):
        rules.record(f"delivery:cohort_{measure}:hourly", f"delivery:cohort_{measure}:increase1h{hourly}")
    for measure in ("sent", "errors"):
        rules.record(f"delivery:{measure}:hourly", f"delivery:{measure}:increase1h{hourly}")
    rules.record("delivery:report_slow:hourly", f"delivery:report_slow:ratio1h{hourly}")
    rules.group("delivery-past", "1m")
    rules.record(
        "delivery:cohort_past:ratio14d",
        """
        sum_over_time(delivery:cohort_delivered:hourly[14d] offset 1d)
        / (sum_over_time(delivery:cohort_sent:hourly[14d] offset 1d) > 300)""",
    )
    rules.record(
        "delivery:errors_past:ratio14d",
        """
        sum_over_time(delivery:errors:hourly[14d] offset 1d)
        / on(job, provider, account, application, channel) group_left()
          (sum_over_time(delivery:sent:hourly[14d] offset 1d) > 300)""",
    )
    rules.record("delivery:sent_usual:min24h", "min_over_time(delivery:sent:hourly[24h] offset 1h)")
    # The least that this hour of the day had within a week: of who sends in bursts that is nothing.
    days = " or ".join(
        f'label_replace(delivery:sent:increase1h offset {day}d, "day", "{day}", "", "")' for day in range(1, 8)
    )
    rules.record("delivery:sent_usual:min7d", f"min without(day) ({days}) and delivery:sent:increase1h offset 7d")
    rules.record(
        "delivery:report_slow_usual:ratio7d",
        "quantile_over_time(0.75, delivery:report_slow:hourly[7d] offset 1h)",
    )


def volumes(rules: Rules) -> None:
    """What went out, and what came back as an error."""
    rules.group("delivery-volumes", "1m")
    for window in ("30m", "1h", "1d"):
        rules.record(
            f"delivery:sent:increase{window}",
            f"sum without({REPLICA}) (increase(delivery_sent_total[{window}]))",
        )
    rules.record(
        "delivery:errors:increase1h",
        f"sum without({REPLICA}) (increase(delivery_errors_total[1h]))",
    )
    # Errors come some minutes after the sends that they belong to.
    rules.record(
        "delivery:sent_base:increase1h",
        """
        (
          delivery:sent:increase1h >= delivery:sent:increase1h offset 30m
          or delivery:sent:increase1h offset 30m
          or delivery:sent:increase1h
        ) > 0""",
    )
    # The same for each reason.
    rules.record(
        "delivery:errors_base:increase1h",
        """
        delivery:errors:increase1h * 0
        + on(job, provider, account, application, channel) group_left() delivery:sent_base:increase1h""",
    )
    rules.record("delivery:errors:ratio1h", "delivery:errors:increase1h / delivery:errors_base:increase1h")
    for measure, window in (("complaints", "1d"), ("bounces", "1d"), ("bounces", "1h")):
        rules.record(
            f"delivery:{measure}:increase{window}",
            f"sum without({REPLICA}) (increase(delivery_{measure}_total[{window}]))",
        )
    rules.record(
        "delivery:report:increase1h",
        f"sum without({REPLICA}, status_group) (increase(delivery_report_latency_seconds_count[1h]))",
    )
    # Both ways in which the bound is written, by text format.
    rules.record(
        "delivery:report_slow:increase1h",
        f"""
        delivery:report:increase1h
        - sum without({REPLICA}, status_group, le) (
            increase(delivery_report_latency_seconds_bucket{{le=~"600(.0)?"}}[1h])
          )""",
    )
    rules.record(
        "delivery:report_slow:ratio1h", "delivery:report_slow:increase1h / (delivery:report:increase1h > 50)"
    )


def spread(level: str) -> str:
    """The factor of a level's tolerance: its own, or a cautious one while it has no past."""
    return f"(delivery:{level}_spread:score14d or delivery:{level}_expected:increase1h * 0 + 1.5)"


def shares(*equal: str, by: str) -> str:
    """What is delivered of what is usual, by other labels, for whoever reads the alert."""
    matchers = ",".join(f"{label}=%q" for label in equal)
    values = " ".join(f"$labels.{label}" for label in equal)
    query = f"min by({by}) (delivery:part_delivery:ratio1h{{{matchers}}})"
    families.check(query.replace("%q", '""'))
    name = " ".join(f"{{{{ .Labels.{label} }}}}" for label in by.split(", "))
    return f" {{{{ range printf `{query}` {values} | query }}}}{name} {{{{ .Value | humanizePercentage }}}}; {{{{ end }}}}"


def rate_alerts(rules: Rules) -> None:
    """Drops of the delivery rate against the own past at equal age and equal mix."""
    rules.group("delivery-rate", "1m")

    def dropped(level, window, ages, score, ratio, missing, messages):
        return f"""(
          1 - (delivery:{level}_delivery:ratio{window}{{{ages}}} < {ratio})
          and delivery:{level}_missing:score{window} > {score} * {spread(level)}
          and delivery:{level}_missing:increase{window} > {missing}
          and delivery:{level}_messages:increase{window} >= {messages}
        )"""

    still = """(
          delivery:application_delivery:ratio15m < 0.93
          or (delivery:application_expected:increase1h unless delivery:application_delivery:ratio15m)
        )"""
    # One message to an unusual audience wakes nobody, unless next to nothing of it arrives.
    spread_out = "unless delivery:application_burst:share1h > 0.7"
    rules.alert(
        "DeliveryRateDropped",
        f"""
        max without(age) (
          (({dropped("application", "1h", EARLY, 6, 0.85, 50, 3)} and {still}) {spread_out})
          or ({dropped("application", "15m", EARLY, 7, 0.75, 50, 3)} {spread_out})
          or {dropped("application", "1h", EARLY, 5, 0.3, 300, 1)}
        )""",
        "page",
        f"{WHERE}: {{{{ $value | humanizePercentage }}}} of what is usually delivered is missing ({{{{ $labels.channel }}}})",
        """
        Of the messages of the last hour, {{ $value | humanizePercentage }} of the deliveries that their own past at the
        same age and the same mix of channels lets expect are missing. If a vendor channel or the vendor alerts too, the
        cause is there. If only this application does, look at its credentials and certificates, at what its newest
        release changed, and at whom its newest campaign was sent to. Its channels, as shares of what is usual:"""
        + shares("account", "application", by="vendor_channel"),
        keep="15m",
    )
    rules.alert(
        "DeliveryRateLow",
        f"""
        max without(age) (
          {dropped("application", "15m", EARLY, 5, 0.9, 15, 3)}
          or {dropped("application", "1h", EARLY, 4, 0.96, 12, 3)}
          or {dropped("application", "1h", EARLY, 5, 0.65, 100, 1)}
          or {dropped("application", "6h", EARLY, 4, 0.965, 25, 10)}
        )""",
        "warning",
        f"{WHERE}: {{{{ $value | humanizePercentage }}}} fewer deliveries than usual ({{{{ $labels.channel }}}})",
        """
        As of the last messages, {{ $value | humanizePercentage }} of the expected deliveries are missing, more than
        chance and this application's own unrest explain. A decay over days, one weak channel, a vendor's partial trouble
        or an unusual audience look like this.""",
        keep="30m",
    )
    rules.alert(
        "DeliveryRateLowLater",
        f"""
        max without(age) {dropped("application", "6h", LATE, 6, 0.9, 50, 10)}
        unless on(provider, account, application, channel)
          max_over_time(ALERTS{{alertname=~"DeliveryRateDropped|DeliveryRateLow",alertstate="firing"}}[4d])""",
        "warning",
        f"{WHERE}: {{{{ $value | humanizePercentage }}}} fewer deliveries than usual, hours after the sending ({{{{ $labels.channel }}}})",
        """
        Messages that looked well in their first hour, or were still being sent then, are below their own past at a later
        age. Sends that the vendor throttles or spreads over time zones are seen here alone.""",
        wait="10m",
        keep="30m",
    )
    siblings = """
          (sum without(platform, vendor_channel) (delivery:part_missing:increase1h)
            - on(job, provider, account, application, channel, age) group_right delivery:part_missing:increase1h)
          < 0.15 *
          (sum without(platform, vendor_channel) (delivery:part_expected:increase1h)
            - on(job, provider, account, application, channel, age) group_right delivery:part_expected:increase1h)"""
    part = 'vendor_channel!="",' + EARLY
    rules.alert(
        "DeliveryVendorChannelDropped",
        f"""
        max without(age) (
          (
            {dropped("part", "1h", part, 5, 0.7, 10, 3)}
            or {dropped("part", "15m", part, 6, 0.6, 30, 3)}
            or {dropped("part", "1h", part, 5, 0.4, 50, 1)}
          )
          and {siblings}
        )""",
        "warning",
        WHERE
        + ": {{ $labels.vendor_channel }} ({{ $labels.platform }}) misses {{ $value | humanizePercentage }} of its deliveries",
        """
        This vendor channel delivers far less than its own past at the same age, while the other channels of the
        application are well. If the same channel is low elsewhere too, it is the channel itself; otherwise look at its
        credentials at the vendor (certificate, service account, quota). The channel elsewhere, as shares of what is usual:"""
        + shares("platform", "vendor_channel", by="provider, application"),
        keep="15m",
    )
    rules.alert(
        "DeliveryVendorChannelOutage",
        f"""
        max without(age) (
          1 - (delivery:vendor_channel_delivery:ratio1h{{{part}}} < 0.75)
          and delivery:vendor_channel_missing:score1h > 6
          and delivery:vendor_channel_missing:increase1h > 50
          and on(platform, vendor_channel, age)
            count by(platform, vendor_channel, age) (
              count by(platform, vendor_channel, age, provider) (
                delivery:part_delivery:ratio1h < 0.75 and delivery:part_missing:score1h > 4
              )
            ) >= 2
        )""",
        "page",
        "{{ $labels.vendor_channel }} ({{ $labels.platform }}) is down at several vendors: {{ $value | humanizePercentage }} is missing",
        """
        The same vendor channel is low at two vendors or more at the same time, so the channel itself (FCM, APNs, the
        handset maker's service) is in trouble, not a vendor or an application. Look at the channel's own status page.""",
        keep="15m",
    )
    rules.alert(
        "DeliveryVendorDropped",
        f"""
        max without(age) (
          1 - (
            sum without(application, channel) (
              delivery:application_expected:increase1h{{{EARLY}}} - delivery:application_missing:increase1h
            )
            / sum without(application, channel) (delivery:application_expected:increase1h{{{EARLY}}})
            < 0.8
          )
          and
            count without(application, channel) (
              delivery:application_delivery:ratio1h < 0.85 and delivery:application_missing:score1h > 5
            ) >= 2
          unless
            count without(application, channel) (
              delivery:application_delivery:ratio1h > 0.95 and delivery:application_messages:increase1h >= 3
            ) >= 1
        )""",
        "page",
        "{{ $labels.provider }}/{{ $labels.account }}: all applications miss deliveries, {{ $value | humanizePercentage }} in all",
        """
        Two applications of this account or more are low at the same time, and none is well: the vendor is in trouble,
        or the account (blocked, out of credit, credentials). Look at the vendor's status page and console.""",
        keep="15m",
    )


def error_alerts(rules: Rules) -> None:
    """Errors by their reason: whose side it is."""
    rules.group("delivery-errors", "1m")
    for name, reason, severity, share, summary, description in (
        (
            "DeliveryCloudErrors",
            "cloud|send_failed|undelivered|system",
            "warning",
            0.03,
            "errors on the vendor's side",
            """
            Errors of the cloud push services (FCM, APNs, and the like) or of the vendor's sending have risen far above
            their own past. It is not the audience: look at the vendor's status page, and at credentials and quotas of
            the push services.""",
        ),
        (
            "DeliveryRegistrationErrors",
            "registration|unregistered|invalid_token",
            "warning",
            0.02,
            "unregistered devices (uninstalls)",
            """
            Far more devices than usual are no longer registered: the application was uninstalled, or a release lost the
            tokens. It is not the vendor: look at the newest release, and at the age of the audience.""",
        ),
        (
            "DeliveryExpiredErrors",
            "expired",
            "warning",
            0.03,
            "messages that expired before delivery",
            """
            Far more messages than usual expired undelivered: a time to live that is too short, a night's sending to
            handsets that are off, or a channel that is stalled.""",
        ),
    ):
        errors = 'delivery:errors:increase1h{reason=~"' + reason + '"}'
        rules.alert(
            name,
            f"""
            {wilson_lower(errors, "delivery:errors_base:increase1h", 4)}
              > 1.5 * (delivery:errors_past:ratio14d or delivery:errors:ratio1h * 0) + {share}
            and delivery:errors:increase1h > 20""",
            severity,
            f"{WHERE}: at least {{{{ $value | humanizePercentage }}}} {summary}",
            description,
            wait="10m",
            keep="30m",
        )


def mail_alerts(rules: Rules) -> None:
    """E-mail: bounces, complaints, the time to delivery."""
    rules.group("delivery-mail", "1m")
    # Between two newsletters the denominator leaves the day before the late bounces do.
    there = '(delivery:sent:increase1d{channel="email"} > 0.5 * (delivery:sent:increase1d offset 12h or delivery:sent:increase1d * 0))'
    hard = 'sum without(kind) (delivery:bounces:increase{window}{{channel="email",kind="hard"}})'
    day, hour = hard.format(window="1d"), hard.format(window="1h")
    # Of the last hour only while the sending goes on: its end leaves late bounces without their sends.
    going_on = (
        '(delivery:sent_base:increase1h{channel="email"}'
        ' > 0.2 * max_over_time(delivery:sent:increase1h{channel="email"}[6h]))'
    )
    for severity, limit, least in (("page", 0.10, 200), ("warning", 0.05, 50)):
        rules.alert(
            "DeliveryHardBounces",
            f"""
            ({wilson_lower(day, there, 3)} > {limit} and {day} > 50)
            or ({wilson_lower(hour, going_on, 4)} > {limit} and {hour} > {least})""",
            severity,
            f"{WHERE}: more than {limit:.0%} hard bounces in a day or in the last hour",
            """
            The hard bounces of the last day, or of the last hour while the sending goes on, are above
            {{ $value | humanizePercentage }} with certainty. Mailbox providers and Amazon SES review senders from 5 % on
            and stop them at 10 %, so stop a campaign that bounces. An old or bought list, or a form without confirmation,
            is the usual cause. The provider's own figure has another denominator.""",
            wait="15m",
            keep="1h",
        )
    complaints = 'delivery:complaints:increase1d{channel="email"}'
    for severity, limit, z in (("page", 0.003, 2.5), ("warning", 0.001, 2.5)):
        rules.alert(
            "DeliveryComplaints",
            f"""
            {wilson_lower(complaints, there, z)} > {limit}
            and {complaints} > 5""",
            severity,
            f"{WHERE}: complaint rate above {limit:.1%}",
            """
            At least {{ $value | humanizePercentage }} of a day's recipients marked the mail as spam. Google asks senders to
            stay below 0.1 % and never to reach 0.3 %. Stop the campaign that they complain about. Mailbox providers count
            only their own recipients, so their figure differs.""",
            wait="15m",
            keep="1h",
        )
    slow = wilson_lower("delivery:report_slow:increase1h", "delivery:report:increase1h", 3)
    rules.alert(
        "DeliveryReportsSlow",
        f"""
        {slow} > 0.2
        and {slow} > 0.15 + 2 * (delivery:report_slow_usual:ratio7d or delivery:report_slow:ratio1h * 0)""",
        "warning",
        f"{WHERE}: at least {{{{ $value | humanizePercentage }}}} of the e-mails take more than ten minutes",
        """
        Time from sending to the final report is far above its own past. Mailbox providers defer (greylisting, rate
        limits, reputation), or the vendor's queue is long.""",
        wait="10m",
        keep="30m",
    )


def volume_alerts(rules: Rules) -> None:
    """Nothing sent where there always was, and what vanished."""
    rules.group("delivery-volume", "1m")
    rules.alert(
        "DeliveryNothingSent",
        """
        (delivery:sent:increase30m == 0)
        and delivery:sent_usual:min24h > 20
        and on(account) (max by(account) (delivery_up) == 1)""",
        "page",
        f"{WHERE}: nothing was sent for half an hour ({{{{ $labels.channel }}}})",
        """
        In each of the last 24 hours something was sent here, and now nothing is, while the vendor answers. The sender
        stopped, or the vendor takes nothing, or new messages are no longer found: look at
        delivery_exporter_discovery_success and at the registering system.""",
        wait="5m",
        keep="15m",
    )
    rules.alert(
        "DeliveryVolumeLow",
        """
        delivery:sent:increase1h < 0.2 * (delivery:sent_usual:min7d > 100)
        and on(account) (max by(account) (delivery_up) == 1)""",
        "warning",
        f"{WHERE}: far fewer messages than at this hour of any day of a week ({{{{ $labels.channel }}}})",
        """
        The last hour's volume is below a fifth of the least that this hour of the day had within a week. For Infobip e-mail, where
        sent means reported on, this is also how an outage of the reports looks.""",
        # Who sends campaigns alone may have an hour without one.
        wait="1h",
        keep="30m",
    )
    rules.alert(
        "DeliverySendersVanished",
        """
        sum by(job, provider, account, application, channel) (delivery_sent_total offset 1h)
        unless sum by(job, provider, account, application, channel) (delivery_sent_total)""",
        "warning",
        f"{WHERE}: its series are gone",
        """
        An hour ago there were numbers of this application, and now there are none. Was the account or application taken
        out of the configuration, is the exporter down, or does no replica hold the account?""",
        wait="15m",
    )


def exporter_alerts(rules: Rules) -> None:
    """The exporter, its vendors' APIs, its ledger."""
    rules.group("delivery-exporter", "1m")
    account = "{{ $labels.account }}"
    part = "{{ $labels.account }}/{{ $labels.application }} ({{ $labels.dataset }})"

    rules.alert(
        "DeliveryExporterDown",
        'up{job=~".*delivery.*"} == 0',
        "page",
        "{{ $labels.instance }} does not answer Prometheus",
        """
        The exporter cannot be scraped. Delivery reports that a vendor hands out once wait at the vendor meanwhile; nothing
        is lost, but nobody sees the deliveries, and no other alert of these rules can fire.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryAccountFailing",
        f"""
        max without({REPLICA}) (avg_over_time(delivery_up[30m])) < 0.5
        and max without({REPLICA}) (delivery_up) == 0""",
        "page",
        "{{ $labels.provider }}/" + account + ": no good answer in most passes of half an hour",
        """
        The vendor's API does not answer this account. delivery_exporter_collect_failures_total says why: unauthorized and
        forbidden are credentials, timeout, connect, dns and tls the network, vendor is the vendor.""",
        wait="10m",
    )
    rules.alert(
        "DeliveryCredentialsRefused",
        f"""
        sum without({REPLICA}, reason) (increase(delivery_exporter_collect_failures_total{{reason=~"unauthorized|forbidden"}}[15m])) > 2
        and max without({REPLICA}) (delivery_exporter_collect_success) == 0""",
        "page",
        part + ": the vendor refuses the credentials",
        """
        The vendor answers that the key is wrong, expired, or lacks a right. Renew it in the vendor's console, put it where
        the configuration reads it from, and reload.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryRateLimited",
        f"sum without({REPLICA}) (increase(delivery_exporter_rate_limited_total[30m])) > 10",
        "warning",
        account + ": the vendor limits the requests ({{ $labels.dataset }})",
        """
        The vendor refused requests as too many. Another program may share the account's limit; otherwise lower
        rate_limit or raise interval for this account.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryDataOld",
        f"time() - max without({REPLICA}) (delivery_exporter_due_timestamp_seconds > 0) > 900",
        "warning",
        part + " is {{ $value | humanizeDuration }} overdue",
        """
        What should have been asked for by then was not answered. Either the vendor fails for this data set, or the account
        has more messages than its rate limit lets it ask for: see delivery_exporter_api_requests_total by code.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryLedgerDown",
        "delivery_exporter_store_up == 0",
        "page",
        "{{ $labels.instance }}: the ledger cannot be written",
        """
        The store cannot be reached or written (disk full, read-only, locked, database down). Counters stand still; reports
        that a vendor hands out once are not fetched, so they are not lost. The log says what is wrong.""",
        wait="2m",
    )
    rules.alert(
        "DeliveryLedgerErrors",
        "increase(delivery_exporter_store_errors_total[30m]) > 3",
        "warning",
        "{{ $labels.instance }}: the ledger fails now and then",
        """
        Transactions of the ledger fail and are tried again. Look at the disk's space and speed, or at the database.""",
        wait="5m",
    )
    rules.alert(
        "DeliverySpoolGrows",
        "delivery_exporter_spool_bytes > 1e8 and deriv(delivery_exporter_spool_bytes[30m]) > 0",
        "warning",
        "{{ $labels.instance }}: {{ $value | humanize1024 }}B of reports wait to be counted",
        """
        Reports are fetched faster than the ledger counts them, or it cannot count at all.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryReportsQuarantined",
        f"sum without({REPLICA}) (increase(delivery_exporter_reports_quarantined_total[1h])) > 0",
        "warning",
        account + ": bodies of delivery reports could not be read",
        """
        The vendor sent something that is not as its documentation says, or an answer was cut. What could be read is
        counted; the rest is kept in the quarantine for `delivery-exporter replay` after an update.""",
    )
    rules.alert(
        "DeliverySeriesDropped",
        f"sum without({REPLICA}, family) (increase(delivery_exporter_series_dropped_total[1h])) > 0",
        "warning",
        account + ": series are left out ({{ $labels.reason }})",
        """
        A limit of the configuration is reached (max_series_per_account, max_label_values, max_campaigns_per_account).
        Totals stay right; single names are in "other". Raise the limit or track fewer messages.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryOtlpRejected",
        'sum without(outcome) (increase(delivery_exporter_otlp_points_total{outcome=~"rejected|failed"}[15m])) > 0',
        "warning",
        "{{ $labels.instance }}: the OTLP receiver does not take all points",
        """
        Points pushed by OTLP were rejected or could not be delivered. /metrics is not affected. The log has the receiver's
        answer.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryDiscoveryFailing",
        f"max without({REPLICA}) (delivery_exporter_discovery_success) == 0",
        "warning",
        account + ": new messages are not found ({{ $labels.source }})",
        """
        A file, an HTTP list or the vendor's list of messages cannot be read. Known messages go on; new ones are missing
        everywhere, and rate alerts see only old messages.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryAccountUnheld",
        "sum by(job, account) (delivery_exporter_lease_held) == 0",
        "page",
        account + ": no replica collects it",
        """
        No running replica holds the account's lease. Are the replicas on the same database, and does it answer?""",
        wait="5m",
    )
    rules.alert(
        "DeliveryScrapedTooSeldom",
        "delivery_exporter_zero_hold_sufficient == 0",
        "warning",
        "{{ $labels.instance }}: scraped less often than collection.zero_hold",
        """
        A new counter may grow before Prometheus has seen it at 0, and increase() loses that. Raise collection.zero_hold
        above the scrape interval.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryReloadFailed",
        "delivery_exporter_config_last_reload_successful == 0",
        "warning",
        "{{ $labels.instance }}: the configuration could not be loaded again",
        """
        The exporter goes on with the old configuration. `delivery-exporter check` says what is wrong, with its line.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryCohortsMissed",
        f"""
        sum without({REPLICA}, age, reason) (increase(delivery_exporter_cohort_missed_total{{reason="late"}}[6h])) > 20""",
        "warning",
        account + ": messages were not asked for at their ages",
        """
        The rate alerts are blind for these messages. Either the account's requests are limited, or the exporter was down
        when they came of age.""",
        wait="15m",
    )


def settings(rules: Rules, limits: dict[str, float]) -> None:
    """Absolute limits, for who wants them: push has no rate that is good everywhere."""
    if not limits:
        return
    rules.group("delivery-limits", "1m")
    for application, limit in limits.items():
        delivered = f'sum without({PARTS}, age) (delivery:cohort_delivered:increase1h{{application="{application}",age="1h"}})'
        sent = f'sum without({PARTS}, age) (delivery:cohort_sent:increase1h{{application="{application}",age="1h"}})'
        rules.alert(
            "DeliveryRateBelowLimit",
            f"1 - {wilson_lower(f'{sent} - {delivered}', sent, 3)} < {limit} and {sent} > 100",
            "warning",
            f"{WHERE}: fewer than {limit:.0%} are delivered within an hour",
            "The delivery rate at the age of one hour is below the limit that is set for this application.",
            wait="5m",
            keep="30m",
        )


def build(factor: int = 1, limits: dict[str, float] | None = None) -> dict:
    """The file of rules; all durations divided by `factor`."""
    families.RECORDED.clear()
    rules = Rules(Scale(factor))
    volumes(rules)
    cohorts(rules)
    past(rules)
    shortfalls(rules)
    rate_alerts(rules)
    error_alerts(rules)
    mail_alerts(rules)
    volume_alerts(rules)
    exporter_alerts(rules)
    settings(rules, limits or {})
    return {"groups": rules.groups}


_COMPARISONS = ("<", ">", "<=", ">=", "==", "!=")


def alerts(made: dict) -> list[dict]:
    """Each alert, and what it compares, without the comparisons: that has to give something where there is data."""
    return [
        {
            "name": rule["alert"],
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
    # Where nothing below is compared, it is asked for as a whole.
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
