"""Two weeks of several applications, the last day at one-minute steps, with or without incidents.

Every family that an open panel of a dashboard shows has series here. The grid is one minute; `END` is the moment
at which the dashboards are drawn, a Wednesday afternoon, so that every run gives the same pictures.
"""

import dataclasses
import math

import numpy as np

END = 1_795_014_000  # 2026-11-18 15:00:00 UTC
DAYS = 15
MINUTES = DAYS * 24 * 60
BEGIN = END - MINUTES * 60
DAY = 24 * 60

# Minutes, the label, and the share of the final deliveries that has come in by then.
AGES = ((5, "5m", 0.86), (15, "15m", 0.92), (60, "1h", 0.96), (360, "6h", 0.985), (1440, "24h", 0.997))


@dataclasses.dataclass(frozen=True)
class Part:
    """A vendor channel: its share of an application's recipients, and its delivery rate."""

    platform: str
    vendor_channel: str
    share: float
    rate: float


@dataclasses.dataclass(frozen=True)
class Campaign:
    """What is sent under one name: recipients an hour, or sends of a size at hours of the day."""

    name: str
    stream: float = 0
    size: float = 0
    hours: tuple[float, ...] = ()
    # Added to the log odds of delivery: campaigns differ.
    effect: float = 0.0


@dataclasses.dataclass(frozen=True)
class Application:
    """Who sends what through which account."""

    provider: str
    account: str
    name: str
    campaigns: tuple[Campaign, ...]
    parts: tuple[Part, ...] = (Part("", "", 1, 0.93),)
    channel: str = "push"
    night: float = 0.2

    @property
    def labels(self) -> dict[str, str]:
        """The labels that all of its families have."""
        return {"provider": self.provider, "account": self.account, "application": self.name}


ASIA = (
    Part("android", "huawei", 0.25, 0.93), Part("android", "xiaomi", 0.22, 0.90), Part("android", "oppo", 0.18, 0.88),
    Part("android", "vivo", 0.15, 0.89), Part("android", "fcm", 0.08, 0.85), Part("ios", "apns", 0.12, 0.70),
)
WEST = (Part("android", "fcm", 0.60, 0.91), Part("ios", "apns", 0.30, 0.74), Part("web", "chrome", 0.10, 0.55))

APPLICATIONS = (
    Application("infobip_push", "global", "shop", (
        Campaign("basket", stream=900), Campaign("weekend-sale", size=14000, hours=(9, 17), effect=-0.15))),
    Application("infobip_push", "global", "bank", (Campaign("card-payment", stream=2600), Campaign("login-code", stream=700, effect=0.4)),
                (Part("", "", 1, 0.96),)),
    Application("engagelab", "asia-news", "asia-news", (
        Campaign("breaking", size=9000, hours=tuple(range(1, 24, 2))), Campaign("morning-digest", size=21000, hours=(6.5,), effect=0.1),
        Campaign("evening-digest", size=16000, hours=(14.0,), effect=-0.1)), ASIA),
    Application("engagelab", "asia-orders", "asia-orders", (Campaign("order-shipped", stream=1900), Campaign("order-paid", stream=1100)), ASIA),
    Application("pushwoosh", "west", "loyalty", (
        Campaign("points", stream=1200), Campaign("offer-of-the-day", size=30000, hours=(8, 12.5), effect=-0.1)), WEST),
    Application("pushwoosh", "west", "games", (
        Campaign("come-back", size=12000, hours=(10, 13, 18, 21), effect=-0.4), Campaign("friend-request", stream=800)), WEST),
    Application("pushwoosh", "west", "reader", (Campaign("new-chapter", stream=1500),), (Part("ios", "apns", 1, 0.8),)),
    Application("alibaba_push", "cn", "mall", (Campaign("", size=40000, hours=(2, 4, 10)),), (Part("", "", 1, 0.83),)),
    Application("infobip_email", "mail", "letters", (
        Campaign("receipt", stream=4200, effect=0.5), Campaign("newsletter", size=32000, hours=(7.5,), effect=-0.2)),
        (Part("", "", 1, 0.97),), channel="email"),
    Application("infobip_email", "billing", "invoices", (Campaign("invoice", stream=900),), (Part("", "", 1, 0.985),), channel="email"),
)


@dataclasses.dataclass(frozen=True)
class Incident:
    """Something that goes wrong, in minutes before the end."""

    begin: int
    end: int
    # What is lost: a share of the deliveries, or of the e-mails as hard bounces.
    loss: float
    account: str
    vendor_channel: str | None = None

    def factor(self, part: Part) -> np.ndarray:
        """What is left of a part's deliveries, by minute."""
        left = np.ones(MINUTES)
        if self.vendor_channel in (None, part.vendor_channel):
            left[MINUTES - self.begin:MINUTES - self.end] = 1 - self.loss
        return left


# A vendor that lost half for two hours, a vendor channel that has been down for 100 minutes, and bounces.
INCIDENTS = (
    Incident(9 * 60, 7 * 60, 0.5, "west"),
    Incident(100, 0, 0.85, "asia-news", "huawei"),
    Incident(100, 0, 0.85, "asia-orders", "huawei"),
    Incident(5 * 60, 0, 0.12, "mail"),
)
# An account whose key expired, in minutes before the end.
KEY_EXPIRED = ("cn", 180)


class Series:
    """Counters by their increments a minute, and gauges by their values."""

    def __init__(self) -> None:
        self.counters: dict[tuple, np.ndarray] = {}
        # The first minute of each counter that Prometheus knows.
        self.recent: set[tuple] = set()
        self.gauges: dict[tuple, np.ndarray] = {}

    def count(self, name: str, labels: dict[str, str], amount: np.ndarray, late: int = 0, recent: bool = False) -> None:
        """Counts `late` minutes afterwards; a recent counter has no history beyond eight days."""
        key = (name, tuple(labels.items()))
        series = self.counters.setdefault(key, np.zeros(MINUTES))
        series[late:] += amount[: MINUTES - late]
        if recent:
            self.recent.add(key)

    def gauge(self, name: str, labels: dict[str, str], values: np.ndarray | float) -> None:
        """A gauge of the last day; NaN where it is absent."""
        self.gauges[(name, tuple(labels.items()))] = np.broadcast_to(np.asarray(values, float), DAY + 1)


def rhythm(night: float) -> np.ndarray:
    """How busy each minute is: quiet nights, a busy afternoon, less at the weekend."""
    seconds = BEGIN + np.arange(MINUTES) * 60
    hour = seconds % 86400 / 3600
    weekday = (seconds // 86400 + 3) % 7
    day = night + (1 - night) * np.clip(np.sin((hour - 5) / 18 * math.pi), 0, None) * 1.6
    return day * np.where(weekday >= 5, 0.75, 1.0)


def sends(rng: np.random.Generator, application: Application, campaign: Campaign) -> tuple[np.ndarray, np.ndarray]:
    """Recipients and messages of each minute."""
    recipients = np.zeros(MINUTES, int)
    messages = np.zeros(MINUTES, int)
    if campaign.stream:
        recipients = rng.poisson(campaign.stream / 60 * rhythm(application.night))
        messages = recipients.copy()
    for day in range(DAYS):
        for hour in campaign.hours:
            minute = day * DAY + int((hour - (BEGIN % 86400) / 3600) % 24 * 60)
            size = int(campaign.size * rng.lognormal(0, 0.15))
            recipients[minute] += size
            messages[minute] += 1
    return recipients, messages


def split(rng: np.random.Generator, recipients: np.ndarray, parts: tuple[Part, ...]) -> list[np.ndarray]:
    """Recipients by part."""
    left, share, found = recipients, 1.0, []
    for part in parts:
        own = rng.binomial(left, min(part.share / share, 1)) if share > 1e-9 else left
        found.append(own)
        left, share = left - own, share - part.share
    return found


def add_application(rng: np.random.Generator, series: Series, application: Application, incidents: tuple[Incident, ...]) -> None:
    """Everything that one application's messages count into."""
    base = application.labels
    plain = base | {"channel": application.channel}
    daily = application.provider == "alibaba_push"
    breakdown = len(application.parts) > 1 or bool(application.parts[0].vendor_channel)
    ages = ((1440, "first", 1.0), (1440, "24h", 1.0)) if daily else AGES
    hit = [own for own in incidents if own.account == application.account]
    for campaign in application.campaigns:
        recipients, messages = sends(rng, application, campaign)
        tagged = plain | {"campaign": campaign.name}
        whole = {age[1]: np.zeros(MINUTES, int) for age in ages}
        lost = np.zeros(MINUTES, int)
        # One message differs from the next, a stream of many does not.
        effect = campaign.effect + rng.normal(0, 0.12, MINUTES) * (messages == 1)
        bounced = rng.binomial(recipients, 0.008)
        if application.channel == "email":
            for own in hit:
                bounced = bounced + rng.binomial(recipients, (1 - own.factor(application.parts[0])) * 0.9)
        for part, sent in zip(application.parts, split(rng, recipients, application.parts)):
            odds = math.log(part.rate / (1 - part.rate)) + effect
            final = rng.binomial(sent, 1 / (1 + np.exp(-odds)))
            if application.channel != "email":
                for own in hit:
                    left = rng.binomial(final, own.factor(part))
                    lost += final - left
                    final = left
            else:
                final = np.clip(sent - bounced - rng.binomial(sent, 0.011), 0, None)
            by_age, remaining = {}, final
            for index in range(len(ages) - 1, -1, -1):
                later = ages[index + 1][2] if index + 1 < len(ages) else 1.0
                remaining = rng.binomial(remaining, ages[index][2] / later)
                by_age[ages[index][1]] = remaining
            for minutes, age, _ in ages:
                whole[age] += by_age[age]
                if breakdown:
                    cohort = base | {"platform": part.platform, "vendor_channel": part.vendor_channel, "age": age}
                    for measure, amount in (("sent", sent), ("delivered", by_age[age]), ("messages", np.minimum(messages, sent))):
                        series.count(f"delivery_cohort_channel_{measure}_total", cohort, amount, minutes + 1)
            if breakdown:
                leaf = base | {"message_type": "notification" if application.provider == "engagelab" else "", "platform": part.platform, "vendor_channel": part.vendor_channel}
                add_measures(rng, series, "delivery_channel", leaf, sent, by_age, ages, application)
        for minutes, age, _ in ages:
            for measure, amount in (("sent", recipients), ("delivered", whole[age]), ("messages", messages)):
                series.count(f"delivery_cohort_{measure}_total", plain | {"age": age}, amount, minutes + 1)
        for family, labels in (("delivery", plain), ("delivery_campaign", tagged)):
            add_measures(rng, series, family, labels, recipients, whole, ages, application)
            if application.channel == "email":
                series.count(f"{family}_bounces_total", labels | {"kind": "hard"}, bounced, 2)
                series.count(f"{family}_bounces_total", labels | {"kind": "soft"}, rng.binomial(recipients, 0.011), 3)
                series.count(f"{family}_complaints_total", labels, rng.binomial(recipients, 0.0003), 90)
                series.count(f"{family}_unsubscribed_total", labels, rng.binomial(recipients, 0.0012), 60)
            else:
                for reason, share in (("registration", 0.012), ("expired", 0.006), ("cloud", 0.003)):
                    failed = rng.binomial(recipients, share) + (lost * 9 // 10 if reason == "cloud" else 0)
                    series.count(f"{family}_errors_total", labels | {"reason": reason}, failed, 4)
        if application.channel == "email":
            add_reports(rng, series, application, recipients, bounced)


def add_measures(rng, series: Series, family: str, labels: dict, sent, by_age: dict, ages, application: Application) -> None:
    """What was sent, delivered, displayed and opened, when the vendor reports it."""
    recent = family != "delivery"
    late = 1440 if application.provider == "alibaba_push" else 1
    series.count(f"{family}_sent_total", labels, sent, late, recent)
    if application.provider == "engagelab":
        series.count(f"{family}_targeted_total", labels, sent + rng.binomial(sent, 0.04), late, recent)
    if application.provider == "alibaba_push" and family != "delivery_channel":
        series.count(f"{family}_accepted_total", labels, sent + rng.binomial(sent, 0.02), late, recent)
    before = 0
    for minutes, age, _ in ages[:1] if late > 1 else ages[:4]:
        series.count(f"{family}_delivered_total", labels, by_age[age] - before, minutes, recent)
        before = by_age[age]
    final = by_age[ages[-1][1]]
    if application.channel == "push" and application.provider != "alibaba_push":
        series.count(f"{family}_displayed_total", labels, rng.binomial(final, 0.55), 12, recent)
    series.count(f"{family}_opened_total", labels, rng.binomial(final, 0.21 if application.channel == "email" else 0.06), max(25, late), recent)
    if application.provider == "pushwoosh":
        series.count(f"{family}_unshowable_total", labels, rng.binomial(sent, 0.05), 20, recent)
        if family == "delivery_channel":
            series.count(f"{family}_errors_total", labels, rng.binomial(sent, 0.02), 4, recent)


def add_reports(rng, series: Series, application: Application, sent, bounced) -> None:
    """Delivery reports, their latency and their cost."""
    labels = application.labels | {"channel": "email"}
    good = np.clip(sent - bounced, 0, None)
    for amount, group, status, error_group, error, permanent in (
        (good, "DELIVERED", "DELIVERED_TO_HANDSET", "OK", "NO_ERROR", "false"),
        (bounced, "UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", "USER_ERRORS", "EC_EMAIL_RECIPIENT_UNKNOWN", "true"),
        (rng.binomial(sent, 0.006), "PENDING", "PENDING_ENROUTE", "HANDSET_ERRORS", "EC_EMAIL_MAILBOX_FULL", "false"),
    ):
        series.count("delivery_reports_total", labels | {"status_group": group, "status": status, "error_group": error_group, "error": error, "permanent": permanent}, amount, 2, True)
    shares = (("1.0", 0.1), ("5.0", 0.45), ("15.0", 0.72), ("60.0", 0.9), ("300.0", 0.975), ("600.0", 0.988), ("3600.0", 0.998), ("+Inf", 1.0))
    buckets = labels | {"status_group": "DELIVERED"}
    remaining, counts = good, []
    for index in range(len(shares) - 1, -1, -1):
        later = shares[index + 1][1] if index + 1 < len(shares) else 1.0
        remaining = rng.binomial(remaining, shares[index][1] / later)
        counts.append((shares[index][0], remaining))
    for bound, amount in reversed(counts):
        series.count("delivery_report_latency_seconds_bucket", buckets | {"le": bound}, amount, 2, True)
    series.count("delivery_report_latency_seconds_count", buckets, good, 2)
    # Thousandths, as every value is written as an integer; a price of 0.4 thousandths of a euro each.
    series.count("delivery_report_cost_total", labels | {"currency": "EUR"}, sent * 0.0004, 2)


def build(incidents: bool, seed: int = 5) -> Series:
    """All series."""
    from . import exporter, messages

    rng = np.random.default_rng(seed)
    series = Series()
    for application in APPLICATIONS:
        add_application(rng, series, application, INCIDENTS if incidents else ())
    messages.add(rng, series, INCIDENTS if incidents else ())
    exporter.add(rng, series, KEY_EXPIRED if incidents else None)
    return series
