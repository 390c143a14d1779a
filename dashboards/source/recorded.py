"""Recording rules: volumes, cohorts, usual rates, and missing deliveries."""

import dataclasses

from .writing import EARLY, PARTS, REPLICA, Rules

# How much the delivery rates of messages differ without a failure. The difference is in the audience, which
# affects the odds of a delivery. So this is a share of what is usually not delivered, and at least 3 % of the rate.
BETWEEN_MESSAGES = 0.25
LEAST_BETWEEN_MESSAGES = 0.03
# The windows in which shortfalls are detected; the day, for slow declines, is made of hourly points.
WINDOWS = ("15m", "1h", "6h", "1d")
# The share of a window's recipients in ten busy minutes of an even day.
EVEN = {"15m": 0.25, "1h": 0.25, "6h": 0.08, "1d": 0.03}
# Bursts are detected in windows of at least an hour: within a quarter hour, all sends look like one.
BURST_WINDOW = {"15m": "1h", "1h": "1h", "6h": "6h", "1d": "1d"}


def cohorts(rules: Rules) -> None:
    """Records what was sent and delivered by part, at equal ages."""
    rules.group("delivery-cohorts", "1m")
    for window in ("10m", "15m", "1h", "6h"):
        # The shortest window is only for bursts.
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
    """The level of a shortfall: single parts, or sums of parts."""

    name: str
    # The labels over which parts are summed.
    over: str = ""
    # The selector of the parts.
    some: str = ""
    # A message that is sent through several parts of an application counts once.
    messages: str = "sum"
    windows: tuple[str, ...] = WINDOWS
    # Whether a single large message among small ones is detected.
    bursts: bool = True

    def of(self, measure: str, window: str) -> str:
        """A measure of the level, over parts with a history."""
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
        """Missing deliveries: as a number, as a ratio, and in standard deviations."""
        level = self.name
        expected = f"delivery:{level}_expected:increase{window}"
        rules.record(expected, f"{self.of('expected', window)} > 0")
        rules.record(f"delivery:{level}_missing:increase{window}", f"{expected} - ({self.of('delivered', window)})")
        rules.record(
            f"delivery:{level}_delivery:ratio{window}", f"1 - delivery:{level}_missing:increase{window} / {expected}"
        )
        rules.record(f"delivery:{level}_messages:increase{window}", self.of("messages", window))
        # The usual deliveries of such a mix.
        rules.record(f"delivery:{level}_usual:ratio{window}", f"{expected} / ({self.of('sent', window)})")
        single = f"1 / clamp_min(delivery:{level}_messages:increase{window}, 1)"
        if self.bursts:
            even = EVEN[window]
            burst = f"delivery:{level}_burst:share{BURST_WINDOW[window]}"
            weight = f"(clamp((clamp_max({burst}, 1) - {even}) / {1 - even:g}, 0, 1) ^ 2)"
            single = f"clamp_max({single} + {weight} or {single}, 1)"
        # The effective number of messages: only recipients of different messages are independent.
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
    """Missing deliveries compared with the history, by part, by application and by vendor channel."""
    rules.group("delivery-shortfalls", "1m")
    for level in LEVELS:
        if level.bursts:
            level.burst(rules)
    for window in WINDOWS:
        rules.record(
            f"delivery:cohort_expected:increase{window}",
            f"delivery:cohort_sent:increase{window} * delivery:cohort_past:ratio14d",
        )
        # For a part: the variance of the recipients, and that of the messages.
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
    # How much an application's usual hours differ beyond chance. The worst of them are left out,
    # so that the last outage does not make the next one look usual.
    for level in ("part", "application"):
        hours = f"delivery:{level}_missing:hourly_score[14d] offset 1d"
        rules.record(
            f"delivery:{level}_spread:score14d",
            f"clamp(quantile_over_time(0.9, {hours}) / 1.28, 1, 4) and count_over_time({hours}) >= 20",
        )


def once_an_hour(rules: Rules) -> str:
    """A condition that holds at one evaluation per hour."""
    return f" and on() (vector(time()) % {3600 // rules.scale.factor} < {60 // rules.scale.factor})"


def past(rules: Rules) -> None:
    """Usual values, from hourly points, so that no rule reads two weeks of samples."""
    # Evaluated every minute and recorded once an hour, instead of evaluated once an hour, so that the result is the same
    # where the interval of a group is ignored, as in promtool's tests.
    rules.group("delivery-hourly", "1m")
    hourly = once_an_hour(rules)
    # Sums of these over days are complete, because each hour is in exactly one of them.
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
    # This is 0 for vendors that are rarely queried or rarely publish.
    rules.record(
        "delivery:sent_quarter_usual:min24h",
        "min_over_time(delivery:sent:increase15m[24h] offset 15m) and delivery:sent:increase15m offset 24h",
    )
    # The minimum of this hour of the day within a week, which is 0 for a sender of bursts.
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
    # For vendors that publish once a day: 25 hours always contain a publication, unless it is late.
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
    """The share of errors in an application's own past hours, without the worst of them."""
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
        # How many more errors this mix of vendor channels usually has than the usual mix.
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
        # If a vendor reports no errors by channel, the mix counts as usual.
        rules.record(
            f"delivery:errors_expected:ratio{window}",
            f"""
            delivery:errors_usual:ratio14d
              * on(job, provider, account, application, channel) group_left() clamp_min(delivery:errors_mix:ratio{window}, 1)
            or delivery:errors_usual:ratio14d""",
        )


def count(rules: Rules, measure: str, window: str) -> None:
    """The increase of a counter within a window."""
    rules.record(
        f"delivery:{measure}:increase{window}",
        f"sum without({REPLICA}) (increase(delivery_{measure}_total[{window}]))",
    )


def volumes(rules: Rules) -> None:
    """Records sends and errors."""
    rules.group("delivery-volumes", "1m")
    for window in ("15m", "30m", "1h", "1d"):
        count(rules, "sent", window)
    for window, before in (("15m", "15m"), ("1h", "30m")):
        count(rules, "errors", window)
        # Errors arrive some minutes after their sends.
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
    # The share of an hour's sends in one quarter of it, which is 1 for a single campaign.
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
