"""Alerts on what is sent and delivered: rates, errors, e-mail, volumes."""

from . import families
from .writing import EARLY, LATE, PARTS, Rules, wilson_lower

WHERE = "{{ $labels.application }} ({{ $labels.account }}, {{ $labels.provider }})"


def spread(level: str) -> str:
    """The factor of a level's tolerance: its own, or a cautious one while it has no history."""
    return f"(delivery:{level}_spread:score14d or delivery:{level}_expected:increase1h * 0 + 2)"


def shares(*equal: str, by: str) -> str:
    """A template that lists shares of the usual rate by other labels, for the reader of the alert."""
    matchers = ",".join(f"{label}=%q" for label in equal)
    values = " ".join(f"$labels.{label}" for label in equal)
    query = f"min by({by}) (delivery:part_delivery:ratio1h{{{matchers}}})"
    families.check(query.replace("%q", '""'))
    name = " ".join(f"{{{{ .Labels.{label} }}}}" for label in by.split(", "))
    return f" {{{{ range printf `{query}` {values} | query }}}}{name} {{{{ .Value | humanizePercentage }}}}; {{{{ end }}}}"


def going_on(window: str, some: str = "") -> str:
    """The sends of a window while sending continues. Bounces and reports of a large campaign arrive for
    hours, and do not belong to the few sends after it."""
    return f"(delivery:sent_base:increase{window}{some} > 0.1 * max_over_time(delivery:sent:increase1h{some}[6h]))"


def rate_alerts(rules: Rules) -> None:
    """Drops of the delivery rate compared with the application's own history, at equal age and equal mix."""
    rules.group("delivery-rate", "1m")

    def dropped(level, window, ages, score, ratio, missing, messages):
        return f"""(
          1 - (delivery:{level}_delivery:ratio{window}{{{ages}}} < {ratio})
          and delivery:{level}_missing:score{window} > {score} * {spread(level)}
          and delivery:{level}_missing:increase{window} > {missing}
          and delivery:{level}_effective_messages:increase{window} >= {messages}
        )"""

    # For one or two messages: an audience that has been inactive for long lowers the odds of a delivery, so
    # the remaining odds distinguish it from an outage.
    def collapsed(level, window, ages, score, odds, most, missing):
        usual = f"delivery:{level}_usual:ratio{window}"
        return f"""(
          1 - (delivery:{level}_delivery:ratio{window}{{{ages}}} < clamp_max({odds} / (1 - {1 - odds:g} * clamp_max({usual}, 1)), {most}))
          and delivery:{level}_missing:score{window} > {score} * {spread(level)}
          and delivery:{level}_missing:increase{window} > {missing}
        )"""

    still = """(
          delivery:application_delivery:ratio15m < 0.93
          or (delivery:application_expected:increase1h unless delivery:application_delivery:ratio15m)
        )"""

    def paged(window, score, ratio):
        few = dropped("application", window, EARLY, score, 0.65, 50, 3)
        return f"{dropped('application', window, EARLY, score, ratio, 50, 6)} or {few}"

    rules.alert(
        "DeliveryRateDropped",
        f"""
        max without(age) (
          ({paged("1h", 6, 0.85)}) and {still}
          or {paged("15m", 7, 0.75)}
          or {collapsed("application", "1h", EARLY, 4, 0.1, 0.5, 100)}
        )""",
        "page",
        f"{WHERE} delivers {{{{ $value | humanizePercentage }}}} fewer {{{{ $labels.channel }}}} messages than it normally does",
        """
        In the last hour, this application delivered {{ $value | humanizePercentage }} fewer messages than it normally
        does, compared at the same age of the messages and the same mix of vendor channels. If an alert for a vendor channel
        or for the vendor fires too, the cause is there. If only this application is affected, check its credentials and
        certificates, its newest release, and the audience of its newest campaign. Its vendor channels, compared with
        their normal rate:"""
        + shares("account", "application", by="vendor_channel"),
        keep="15m",
    )
    rules.alert(
        "DeliveryRateLow",
        f"""
        max without(age) (
          {dropped("application", "15m", EARLY, 5, 0.9, 15, 3)}
          or {dropped("application", "1h", EARLY, 5, 0.93, 20, 3)}
          or {collapsed("application", "1h", EARLY, 4, 0.2, 0.7, 50)}
          or {dropped("application", "6h", EARLY, 4.5, 0.94, 25, 6)}
          or (
            {dropped("application", "1d", EARLY, 4.5, 0.92, 50, 5)}
            or {dropped("application", "1d", EARLY, 5, 0.78, 50, 2)}
          ) and delivery:application_delivery:ratio6h < 0.93 and delivery:application_missing:score6h > 2
        )""",
        "warning",
        f"{WHERE} delivers {{{{ $value | humanizePercentage }}}} fewer {{{{ $labels.channel }}}} messages than it normally does",
        """
        This application delivers {{ $value | humanizePercentage }} fewer messages than it normally does. The difference is
        larger than chance and the usual variation explain. Possible causes are a decline over days, one weak vendor
        channel, a partial outage of the vendor, or an unusual audience.""",
        keep="30m",
    )
    rules.alert(
        "DeliveryRateLowLater",
        f"""
        max without(age) {dropped("application", "6h", LATE, 6, 0.9, 50, 10)}
        unless on(provider, account, application, channel)
          max_over_time(ALERTS{{alertname=~"DeliveryRateDropped|DeliveryRateLow",alertstate="firing"}}[4d])""",
        "warning",
        f"{WHERE} delivers {{{{ $value | humanizePercentage }}}} fewer {{{{ $labels.channel }}}} messages than normal, hours after sending",
        """
        Hours after sending, this application has delivered {{ $value | humanizePercentage }} fewer messages than it
        normally has at that age. In their first hour these messages looked normal, or were still being sent. Messages that
        the vendor sends slowly, or spreads over time zones, show only here.""",
        wait="10m",
        keep="30m",
    )

    def siblings(window, below="<"):
        return f"""
          (sum without(platform, vendor_channel) (delivery:part_missing:increase{window})
            - on(job, provider, account, application, channel, age) group_right delivery:part_missing:increase{window})
          {below} 0.15 *
          (sum without(platform, vendor_channel) (delivery:part_expected:increase{window})
            - on(job, provider, account, application, channel, age) group_right delivery:part_expected:increase{window})"""

    part = 'vendor_channel!="",' + EARLY
    rules.alert(
        "DeliveryVendorChannelDropped",
        f"""
        max without(age) (
          (
            {dropped("part", "1h", part, 5, 0.7, 10, 3)}
            or {dropped("part", "15m", part, 6, 0.6, 15, 3)}
            or {collapsed("part", "1h", part, 4, 0.15, 0.6, 30)}
          )
          and {siblings('1h')}
        )""",
        "warning",
        WHERE
        + ": {{ $labels.vendor_channel }} ({{ $labels.platform }}) delivers {{ $value | humanizePercentage }} fewer messages than normal",
        """
        {{ $labels.vendor_channel }} ({{ $labels.platform }}) delivers {{ $value | humanizePercentage }} fewer messages of
        this application than it normally does, while the application's other channels are normal. If the channel is low in
        other applications too, the channel itself is in trouble. Otherwise check its credentials at the vendor
        (certificate, service account, quota). The same channel elsewhere, compared with its normal rate:"""
        + shares("platform", "vendor_channel", by="provider, application"),
        keep="15m",
    )

    # If an application's other channels are low as well, the cause is its audience or its vendor; an
    # application that has only this channel (0 of 0) counts.
    def everywhere(window, score, ratio):
        return f"""(
          1 - (delivery:vendor_channel_delivery:ratio{window}{{{part}}} < {ratio})
          and delivery:vendor_channel_missing:score{window} > {score}
          and delivery:vendor_channel_missing:increase{window} > 50
          and on(platform, vendor_channel, age)
            count by(platform, vendor_channel, age) (
              count by(platform, vendor_channel, age, provider) (
                delivery:part_delivery:ratio{window} < {ratio} and delivery:part_missing:score{window} > 4
                and {siblings(window, "<=")}
              )
            ) >= 2
        )"""

    rules.alert(
        "DeliveryVendorChannelOutage",
        f"""
        max without(age) ({everywhere("1h", 6, 0.75)} or {everywhere("15m", 7, 0.65)})""",
        "page",
        "{{ $labels.vendor_channel }} ({{ $labels.platform }}) is down at several vendors: {{ $value | humanizePercentage }} fewer messages are delivered than normal",
        """
        {{ $labels.vendor_channel }} ({{ $labels.platform }}) delivers {{ $value | humanizePercentage }} fewer messages than
        normal, at two vendors or more at the same time. So the channel itself (FCM, APNs, or a handset maker's service) is
        in trouble, not a vendor or an application. Look at the channel's status page.""",
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
              delivery:application_delivery:ratio1h > 0.95 and delivery:application_effective_messages:increase1h >= 3
            ) >= 1
        )""",
        "page",
        "{{ $labels.account }} ({{ $labels.provider }}) delivers {{ $value | humanizePercentage }} fewer messages than normal, in all of its applications",
        """
        All applications of this account together deliver {{ $value | humanizePercentage }} fewer messages than normal. At
        least two of them are low, and none is normal. So the vendor is in trouble, or the account is (blocked, out of
        credit, invalid credentials). Look at the vendor's status page and console.""",
        keep="15m",
    )


def error_alerts(rules: Rules) -> None:
    """Errors by reason, which shows the responsible side. Compared with the application's own past hours, because
    some always have many errors, or have them every night; without a history only an extreme counts."""
    rules.group("delivery-errors", "1m")
    # The hour detects small or thinly spread errors; the quarter hour reacts before the previous hour has left the
    # window.
    # One campaign has one audience, so a single campaign warns only at an extreme.
    same = "on(job, provider, account, application, channel)"
    several = f"unless {same} (delivery:sent_burst:share1h > 0.7 or delivery:messages:increase1h < 3)"
    busy = f" and on(job, provider, account, application, channel) {going_on('15m')}"
    for name, reason, share, single, extreme, summary, description in (
        (
            "DeliveryCloudErrors",
            "cloud|send_failed|undelivered|system",
            0.03,
            0.2,
            0.4,
            "fail on the vendor's side",
            """
            At least {{ $value | humanizePercentage }} of this application's sends failed at a push service (FCM, APNs, or
            a handset maker's) or at the vendor, far more than normal. The audience is not the cause. Look at the vendor's
            status page, and check the credentials and quotas of the push services.""",
        ),
        (
            "DeliveryRegistrationErrors",
            "registration|unregistered|invalid_token",
            0.02,
            0.2,
            0.4,
            "go to devices that are no longer registered",
            """
            At least {{ $value | humanizePercentage }} of this application's sends failed because the device is no longer
            registered, far more than normal. People uninstalled the application, or a release lost the device tokens. The
            vendor is not the cause. Check the newest release, and how old the audience is.""",
        ),
        (
            "DeliveryExpiredErrors",
            "expired",
            0.03,
            0.3,
            0.5,
            "expire before they are delivered",
            """
            At least {{ $value | humanizePercentage }} of this application's sends expired before they were delivered, far
            more than normal. The time to live is too short, the devices were off, or a vendor channel is stalled.""",
        ),
    ):
        # The share of expired messages depends on the hour, and the first campaign of a night is no reason to warn.
        known = "" if name == "DeliveryExpiredErrors" else " or delivery:errors_usual:hours14d >= 25"
        surges = []
        for window, beside in (("1h", ""), ("15m", busy)):
            errors = f'delivery:errors:increase{window}{{reason=~"{reason}"}}'
            certain = wilson_lower(errors, f"delivery:errors_base:increase{window}", 4)
            surges.append(f"""(
              (
                ({certain} > 1.8 * delivery:errors_expected:ratio{window} + {share} {several})
                or (
                  {certain} > 1.5 * delivery:errors_usual:max14d + {share} and delivery:errors_usual:ratio14d
                  and ({certain} > {single}{known})
                )
                or ({certain} > {extreme} unless delivery:errors_usual:ratio14d)
              )
              and {errors} > 20{beside}
            )""")
        rules.alert(
            name,
            "\n" + " or ".join(surges),
            "warning",
            f"{WHERE}: at least {{{{ $value | humanizePercentage }}}} of the {{{{ $labels.channel }}}} messages {summary}",
            description,
            wait="5m",
            keep="30m",
        )


def mail_alerts(rules: Rules) -> None:
    """E-mail: bounces, complaints, the time to delivery."""
    rules.group("delivery-mail", "1m")
    # Between two newsletters, the sends leave the window of a day before their late bounces do.
    there = '(delivery:sent:increase1d{channel="email"} > 0.5 * (delivery:sent:increase1d offset 12h or delivery:sent:increase1d * 0))'
    hard = 'sum without(kind) (delivery:bounces:increase{window}{{channel="email",kind="hard"}})'
    day, hour = hard.format(window="1d"), hard.format(window="1h")
    lately = going_on("1h", '{channel="email"}')
    for severity, limit, least in (("page", 0.10, 200), ("warning", 0.05, 50)):
        rules.alert(
            "DeliveryHardBounces",
            f"""
            ({wilson_lower(day, there, 3)} > {limit} and {day} > 50)
            or ({wilson_lower(hour, lately, 4)} > {limit} and {hour} > {least})""",
            severity,
            f"{WHERE}: at least {{{{ $value | humanizePercentage }}}} of the e-mails bounce permanently",
            """
            At least {{ $value | humanizePercentage }} of the e-mails of the last day, or of the last hour, bounced
            permanently. Amazon SES reviews senders at 5 % and stops them at 10 %, so stop a campaign that bounces. The usual
            causes are an old or bought list, or a sign-up form without confirmation. Providers use other denominators,
            so their figures differ.""",
            wait="15m",
            keep="1h",
        )
    complaints = 'delivery:complaints:increase1d{channel="email"}'
    # A few people on a small list are no reason to wake somebody.
    for severity, limit, z, least in (("page", 0.003, 3, 30), ("warning", 0.001, 2.5, 12)):
        rules.alert(
            "DeliveryComplaints",
            f"""
            {wilson_lower(complaints, there, z)} > {limit}
            and {complaints} > {least}""",
            severity,
            f"{WHERE}: at least {{{{ $value | humanizePercentage }}}} of the recipients complain about spam",
            """
            At least {{ $value | humanizePercentage }} of the recipients of the last day marked the e-mail as spam. Google
            asks senders to stay below 0.1 % and never to reach 0.3 %. Stop the campaign that they complain about. Mailbox
            providers count only their own recipients, so their figures differ.""",
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
        For at least {{ $value | humanizePercentage }} of the e-mails of the last hour, it took more than ten minutes from
        sending to the final report, far more than normal. Mailbox providers defer the e-mails (greylisting, rate limits,
        reputation), or the vendor's queue is long.""",
        wait="10m",
        keep="30m",
    )


def volume_alerts(rules: Rules) -> None:
    """Applications that stopped sending, and series that vanished."""
    rules.group("delivery-volume", "1m")
    # A sender of occasional campaigns pauses by chance; a sender with thirty messages in the quietest hour does not.
    rules.alert(
        "DeliveryNothingSent",
        """
        (
          (delivery:sent:increase15m == 0) and delivery:sent_quarter_usual:min24h > 5
          or (delivery:sent:increase30m == 0) and delivery:sent_usual:min24h > 20
        )
        unless delivery:messages_usual:min24h < 30
        and on(account) (max by(account) (delivery_up) == 1)""",
        "page",
        f"{WHERE} has stopped sending {{{{ $labels.channel }}}} messages",
        """
        This application sent messages throughout the last day, and has sent none for at least fifteen minutes. The vendor
        still answers. The sending system stopped, the vendor accepts no messages, or the exporter no longer finds new ones:
        check delivery_exporter_discovery_success and the system that registers messages.""",
        wait="5m",
        keep="15m",
    )
    rules.alert(
        "DeliveryVolumeLow",
        """
        delivery:sent:increase1h < 0.2 * (delivery:sent_usual:min7d > 100)
        unless delivery:messages_usual:min7d < 15
        and on(account) (max by(account) (delivery_up) == 1)""",
        "warning",
        f"{WHERE} sent {{{{ $value | humanize }}}} {{{{ $labels.channel }}}} messages in an hour, far fewer than at this time on any day of the last week",
        """
        In the last hour this application sent {{ $value | humanize }} messages, less than a fifth of the least that it
        sent at this time on any day of the last week. Infobip e-mail counts a message as sent when its report arrives, so
        missing reports look the same.""",
        # An application that sends only campaigns may have an hour without one.
        wait="1h",
        keep="30m",
    )
    rules.alert(
        "DeliveryDailyFiguresLate",
        """
        delivery:daily_sent:increase25h < 0.2 * (delivery:daily_sent_usual:min7d > 100)
        and on(account) (max by(account) (delivery_up) == 1)""",
        "warning",
        f"{WHERE}: the vendor's daily figures are late or far too low",
        """
        This vendor publishes its figures once a day. In the last 25 hours it published {{ $value | humanize }} sends, less
        than a fifth of the least of any day of the last week.""",
        wait="10m",
        keep="30m",
    )
    rules.alert(
        "DeliverySendersVanished",
        """
        sum by(job, provider, account, application, channel) (delivery_sent_total offset 1h)
        unless sum by(job, provider, account, application, channel) (delivery_sent_total)""",
        "warning",
        f"{WHERE} is no longer monitored",
        """
        An hour ago the exporter had figures for this application, and now it has none. The account or application was
        removed from the configuration, the exporter is down, or no replica holds the account.""",
        wait="15m",
    )


def settings(rules: Rules, limits: dict[str, float]) -> None:
    """Optional absolute limits: for push messages, no single rate is right for every application."""
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
            f"{WHERE} delivers at most {{{{ $value | humanizePercentage }}}} within an hour, less than the limit of {limit:.0%}",
            f"At most {{{{ $value | humanizePercentage }}}} of the messages were delivered within an hour. The configured limit for this application is {limit:.0%}.",
            wait="5m",
            keep="30m",
        )
