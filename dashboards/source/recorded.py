"""What is recorded: volumes, cohorts, what was usual, and what is missing of it."""

import dataclasses

from .writing import EARLY, PARTS, REPLICA, Rules

# How much messages differ in their delivery rate where nothing is broken: what differs is the audience, which
# acts on the odds of a delivery. So this is a share of what is usually not delivered, and at least 3 % of the rate.
BETWEEN_MESSAGES = 0.25
LEAST_BETWEEN_MESSAGES = 0.03
# What a shortfall is looked for in; the day, for slow decays, is made of hourly points.
WINDOWS = ("15m", "1h", "6h", "1d")
# How much of a window's recipients ten busy minutes of an even day have.
EVEN = {"15m": 0.25, "1h": 0.25, "6h": 0.08, "1d": 0.03}
# A burst is looked for in no less than an hour: within a quarter all sends look like one.
BURST_WINDOW = {"15m": "1h", "1h": "1h", "6h": "6h", "1d": "1d"}


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


@dataclasses.dataclass(frozen=True)
class Level:
    """What a shortfall is of: parts by themselves, or sums of them."""

    name: str
    # The labels over which its parts are summed.
    over: str = ""
    # Which parts.
    some: str = ""
    # A message that goes out by several parts of an application is one.
    messages: str = "sum"
    windows: tuple[str, ...] = WINDOWS
    # Whether it is known when one large message stands among small ones.
    bursts: bool = True

    def of(self, measure: str, window: str) -> str:
        """A measure of the level, of parts that have a past."""
        series = f"delivery:cohort_{measure}:increase{window}{self.some}"
        if measure in ("sent", "delivered", "messages"):
            series += f" and delivery:cohort_expected:increase{window}"
        how = self.messages if measure == "messages" else "sum"
        return f"{how} without({self.over}) ({series})" if self.over else f"({series})"

    def burst(self, rules: Rules) -> None:
        """How much of a window's recipients had their messages within ten minutes: of one large message,
        however many small ones go out beside it, nearly all. Numbers of a day come all at once."""
        sent = f"sum without({self.over}) (delivery:cohort_sent:increase{{}})" if self.over else "delivery:cohort_sent:increase{}"
        short = f"delivery:{self.name}_sent:increase10m"
        rules.record(short, sent.format("10m"))
        for window in sorted({BURST_WINDOW[own] for own in self.windows}):
            rules.record(
                f"delivery:{self.name}_burst:share{window}",
                f'max_over_time({short}{{age!="first"}}[{window}]) / ({sent.format(window)} > 0)',
            )

    def shortfall(self, rules: Rules, window: str) -> None:
        """What is missing, as a number, as a ratio, and in standard deviations."""
        level = self.name
        expected = f"delivery:{level}_expected:increase{window}"
        rules.record(expected, f"{self.of('expected', window)} > 0")
        rules.record(f"delivery:{level}_missing:increase{window}", f"{expected} - ({self.of('delivered', window)})")
        rules.record(
            f"delivery:{level}_delivery:ratio{window}", f"1 - delivery:{level}_missing:increase{window} / {expected}"
        )
        rules.record(f"delivery:{level}_messages:increase{window}", self.of("messages", window))
        # What is usually delivered of such a mix.
        rules.record(f"delivery:{level}_usual:ratio{window}", f"{expected} / ({self.of('sent', window)})")
        single = f"1 / clamp_min(delivery:{level}_messages:increase{window}, 1)"
        if self.bursts:
            even = EVEN[window]
            burst = f"delivery:{level}_burst:share{BURST_WINDOW[window]}"
            weight = f"(clamp((clamp_max({burst}, 1) - {even}) / {1 - even:g}, 0, 1) ^ 2)"
            single = f"clamp_max({single} + {weight} or {single}, 1)"
        # As of how many messages of one size the recipients are: they are independent only of other messages'.
        rules.record(f"delivery:{level}_effective_messages:increase{window}", f"1 / ({single})")
        rules.record(
            f"delivery:{level}_missing:score{window}",
            f"""
            delivery:{level}_missing:increase{window}
            / sqrt(
              {self.of("variance", window)}
              + (
                {expected}
                * clamp_min({BETWEEN_MESSAGES} * (1 - delivery:{level}_usual:ratio{window}), {LEAST_BETWEEN_MESSAGES})
              ) ^ 2 / delivery:{level}_effective_messages:increase{window}
            )""",
        )


LEVELS = (
    Level("part", windows=("15m", "1h", "6h")),
    Level("application", PARTS, messages="max"),
    Level("vendor_channel", "application, account, provider, job", '{vendor_channel!=""}', windows=("15m", "1h"), bursts=False),
)


def shortfalls(rules: Rules) -> None:
    """What is missing of what the past lets expect, by part, by application and by vendor channel."""
    rules.group("delivery-shortfalls", "1m")
    for level in LEVELS:
        if level.bursts:
            level.burst(rules)
    for window in WINDOWS:
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
        for level in LEVELS:
            if window in level.windows:
                level.shortfall(rules, window)
    for level in ("part", "application"):
        rules.record(
            f"delivery:{level}_missing:hourly_score", f"delivery:{level}_missing:score1h{once_an_hour(rules)}"
        )
    # How far an application's usual hours lie apart, beside what chance explains: not from the worst of them,
    # so that the last outage does not make the next one look usual.
    for level in ("part", "application"):
        hours = f"delivery:{level}_missing:hourly_score[14d] offset 1d"
        rules.record(
            f"delivery:{level}_spread:score14d",
            f"clamp(quantile_over_time(0.9, {hours}) / 1.28, 1, 4) and count_over_time({hours}) >= 20",
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
    for measure in ("sent", "delivered", "messages"):
        rules.record(f"delivery:cohort_{measure}:hourly", f"delivery:cohort_{measure}:increase1h{hourly}")
        rules.record(
            f"delivery:cohort_{measure}:increase1d", f"sum_over_time(delivery:cohort_{measure}:hourly[1d])"
        )
    rules.record(
        "delivery:messages:increase1h",
        f"max without({PARTS}, age) (delivery:cohort_messages:increase1h{{{EARLY}}})",
    )
    for measure in ("sent", "errors"):
        rules.record(f"delivery:{measure}:hourly", f"delivery:{measure}:increase1h{hourly}")
        rules.record(f"delivery:channel_{measure}:hourly", f"delivery:channel_{measure}:increase1h{hourly}")
    rules.record("delivery:errors_share:hourly", f"delivery:errors_share:ratio1h{hourly}")
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
    _usual_errors(rules)
    rules.record(
        "delivery:sent_usual:min24h",
        "min_over_time(delivery:sent:hourly[24h] offset 1h) and delivery:sent:increase1h offset 24h",
    )
    # For who is asked seldom, or hands numbers out seldom, this is 0.
    rules.record(
        "delivery:sent_quarter_usual:min24h",
        "min_over_time(delivery:sent:increase15m[24h] offset 15m) and delivery:sent:increase15m offset 24h",
    )
    # The least that this hour of the day had within a week: of who sends in bursts that is nothing.
    days = " or ".join(
        f'label_replace(delivery:sent:increase1h offset {day}d, "day", "{day}", "", "")' for day in range(1, 8)
    )
    rules.record("delivery:sent_usual:min7d", f"min without(day) ({days}) and delivery:sent:increase1h offset 7d")
    messages = " or ".join(
        f'label_replace(delivery:messages:increase1h offset {day}d, "day", "{day}", "", "")' for day in range(1, 8)
    )
    rules.record(
        "delivery:messages_usual:min24h", "min_over_time(delivery:messages:increase1h[24h] offset 1h)"
    )
    rules.record("delivery:messages_usual:min7d", f"min without(day) ({messages})")
    # What a vendor publishes once a day: in 25 hours there is always a publication, unless it is late.
    rules.record(
        "delivery:daily_sent:increase25h",
        f'sum without({PARTS}) (sum_over_time(delivery:cohort_sent:hourly{{age="first"}}[25h]))',
    )
    rules.record(
        "delivery:daily_sent_usual:min7d",
        """
        min_over_time(delivery:daily_sent:increase25h[7d] offset 25h)
        and delivery:daily_sent:increase25h offset 7d""",
    )
    rules.record(
        "delivery:report_slow_usual:ratio7d",
        "quantile_over_time(0.75, delivery:report_slow:hourly[7d] offset 1h)",
    )


def _usual_errors(rules: Rules) -> None:
    """The share of errors that an application's own hours have had, but for the worst of them."""
    rules.record("delivery:errors_usual:hours14d", "count_over_time(delivery:errors_share:hourly[14d] offset 1d)")
    rules.record(
        "delivery:errors_usual:ratio14d",
        """
        quantile_over_time(0.95, delivery:errors_share:hourly[14d] offset 1d)
        and delivery:errors_usual:hours14d >= 20""",
    )
    rules.record(
        "delivery:channel_errors_past:ratio14d",
        """
        sum_over_time(delivery:channel_errors:hourly[14d] offset 1d)
        / (sum_over_time(delivery:channel_sent:hourly[14d] offset 1d) > 300)""",
    )
    rules.record("delivery:errors_usual:max14d", "max_over_time(delivery:errors_share:hourly[14d] offset 1d)")
    for window in ("15m", "1h"):
        # How much more errors this mix of vendor channels lets expect than the usual mix does.
        rules.record(
            f"delivery:errors_mix:ratio{window}",
            f"""
            (
              sum without({PARTS}) (delivery:channel_sent:increase{window} * delivery:channel_errors_past:ratio14d)
              / (sum without({PARTS}) (delivery:channel_sent:increase{window} and delivery:channel_errors_past:ratio14d) > 0)
            )
            / (
              sum without({PARTS}) (sum_over_time(delivery:channel_errors:hourly[14d] offset 1d))
              / (sum without({PARTS}) (sum_over_time(delivery:channel_sent:hourly[14d] offset 1d)) > 300)
              > 0
            )""",
        )
        # Where a vendor tells no errors by channel, the mix is as usual.
        rules.record(
            f"delivery:errors_expected:ratio{window}",
            f"""
            delivery:errors_usual:ratio14d
              * on(job, provider, account, application, channel) group_left() clamp_min(delivery:errors_mix:ratio{window}, 1)
            or delivery:errors_usual:ratio14d""",
        )


def count(rules: Rules, measure: str, window: str) -> None:
    """How much of a counter came in a window."""
    rules.record(
        f"delivery:{measure}:increase{window}",
        f"sum without({REPLICA}) (increase(delivery_{measure}_total[{window}]))",
    )


def volumes(rules: Rules) -> None:
    """What went out, and what came back as an error."""
    rules.group("delivery-volumes", "1m")
    for window in ("15m", "30m", "1h", "1d"):
        count(rules, "sent", window)
    for window, before in (("15m", "15m"), ("1h", "30m")):
        count(rules, "errors", window)
        # Errors come some minutes after the sends that they belong to.
        rules.record(
            f"delivery:sent_base:increase{window}",
            f"""
            (
              delivery:sent:increase{window} >= delivery:sent:increase{window} offset {before}
              or delivery:sent:increase{window} offset {before}
              or delivery:sent:increase{window}
            ) > 0""",
        )
        # The same for each reason.
        rules.record(
            f"delivery:errors_base:increase{window}",
            f"""
            delivery:errors:increase{window} * 0
            + on(job, provider, account, application, channel) group_left() delivery:sent_base:increase{window}""",
        )
        # By vendor channel, errors have no reason.
        for measure in ("sent", "errors"):
            rules.record(
                f"delivery:channel_{measure}:increase{window}",
                f"""
                label_replace(
                  sum without({REPLICA}, message_type) (increase(delivery_channel_{measure}_total[{window}])),
                  "channel", "push", "", ""
                )""",
            )
    # How much of an hour's sends one quarter of it has: of one campaign, all.
    rules.record(
        "delivery:sent_burst:share1h", "max_over_time(delivery:sent:increase15m[1h]) / (delivery:sent:increase1h > 0)"
    )
    rules.record("delivery:errors_share:ratio1h", "delivery:errors:increase1h / (delivery:errors_base:increase1h > 50)")
    for measure, window in (("complaints", "1d"), ("bounces", "1d"), ("bounces", "1h")):
        count(rules, measure, window)
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
