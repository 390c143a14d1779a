"""Applications that send, and incidents that are drawn from a seed: the series that an exporter would show.

Everything is on a grid of five minutes. The generator knows nothing of the rules.
"""

import dataclasses
import math

import numpy as np

STEP = 300
HOUR = 3600 // STEP
DAY = 24 * HOUR
# Seconds, the label, and the share of what is delivered in the end that is delivered by then.
AGES = [(300, "5m", 0.86), (900, "15m", 0.92), (3600, "1h", 0.96), (21600, "6h", 0.985), (86400, "24h", 0.997), (259200, "72h", 1.0)]
DAILY_AGES = [(86400, "24h", 1.0), (259200, "72h", 1.0)]
# From what loss on an incident counts and is visible: a decay is smaller in its first hours.
VISIBLE = 0.05


@dataclasses.dataclass(frozen=True)
class Part:
    """A vendor channel: its share of an application's recipients, and its rate."""

    platform: str
    vendor_channel: str
    share: float
    rate: float


@dataclasses.dataclass(frozen=True)
class Application:
    """Who sends, how much and when."""

    provider: str
    account: str
    name: str
    parts: tuple[Part, ...]
    # Recipients an hour of messages that go out one by one, on the average.
    stream: float = 0
    # Campaigns a day, and the median of their recipients.
    campaigns: float = 0
    size: float = 0
    # How much campaigns differ in their rate (standard deviation of the log odds).
    unrest: float = 0.25
    night: float = 0.1
    weekend: float = 0.7
    breakdown: bool = True
    channel: str = "push"

    @property
    def key(self) -> tuple[str, str, str]:
        """How alerts name it."""
        return (self.provider, self.account, self.name)


ANDROID_CHINA = (
    Part("android", "huawei", 0.25, 0.93), Part("android", "xiaomi", 0.22, 0.90), Part("android", "oppo", 0.18, 0.88),
    Part("android", "vivo", 0.15, 0.89), Part("android", "fcm", 0.08, 0.85), Part("ios", "apns", 0.12, 0.70),
)
WEST = (Part("android", "fcm", 0.62, 0.91), Part("ios", "apns", 0.30, 0.74), Part("web", "chrome", 0.08, 0.55))
APPLICATIONS = (
    Application("infobip_push", "global", "shop", (Part("", "", 1, 0.92),), stream=900, campaigns=2, size=9000, breakdown=False),
    Application("infobip_push", "global", "bank", (Part("", "", 1, 0.96),), stream=2500, night=0.2, weekend=0.5, breakdown=False),
    Application("engagelab", "asia", "news", ANDROID_CHINA, campaigns=30, size=6000),
    Application("engagelab", "asia", "orders", ANDROID_CHINA, stream=1800),
    Application("engagelab", "asia", "club", WEST, campaigns=10, size=40, unrest=0.5),
    Application("pushwoosh", "west", "loyalty", WEST, stream=700, campaigns=3, size=30000),
    Application("pushwoosh", "west", "games", WEST, campaigns=12, size=12000, weekend=1.3),
    Application("pushwoosh", "west", "ios-only", (Part("ios", "apns", 1, 0.8),), stream=1200),
    Application("pushwoosh", "west", "bursts", WEST, campaigns=4, size=150000, unrest=0.15, night=0.02),
    Application("alibaba_push", "cn", "mall", (Part("", "", 1, 0.83),), campaigns=20, size=20000, breakdown=False),
    Application("infobip_email", "mail", "letters", (Part("", "", 1, 0.97),), stream=4000, channel="email", breakdown=False),
)


@dataclasses.dataclass
class Incident:
    """Something that goes wrong; times are steps."""

    kind: str
    begin: int
    end: int
    severity: float
    applications: set
    vendor_channel: str | None = None
    # Filled by the world: when the vendor's numbers first show it, and how much of the traffic it takes.
    visible: int | None = None
    share: float = 0.0
    volume: float = 0.0

    def factor(self, step: int, part: Part, at: float | None = None) -> float:
        """What of a part's deliveries is left for a message of this step."""
        if not self.begin <= step < self.end or self.vendor_channel not in (None, part.vendor_channel):
            return 1.0
        if self.kind == "decay":
            return 1 - self.severity * (step - self.begin) / (self.end - self.begin)
        return 1 - self.severity


# Kind, how many of forty, hours from and to, severity from and to.
KINDS = (
    ("vendor", 5, 0.75, 5, 0.35, 1.0),
    ("channel", 6, 1, 8, 0.4, 1.0),
    ("channel_everywhere", 4, 0.75, 5, 0.4, 1.0),
    ("application", 8, 0.75, 6, 0.25, 1.0),
    ("decay", 3, 30, 48, 0.25, 0.5),
    ("dip", 4, 0.34, 0.67, 0.5, 1.0),
    ("uninstalls", 4, 10, 24, 0.06, 0.2),
    ("silence", 2, 1, 4, 1.0, 1.0),
    ("bounces", 2, 8, 20, 0.12, 0.3),
    ("complaints", 2, 8, 20, 0.004, 0.01),
)


def draw_incidents(rng: np.random.Generator, first: int, last: int, count: int) -> list[Incident]:
    """Incidents between two steps; none of them meets another one of the same application within 14 hours."""
    names = [kind for kind in KINDS for _ in range(kind[1])]
    rng.shuffle(names)
    incidents: list[Incident] = []
    push = [own for own in APPLICATIONS if own.channel == "push" and own.provider != "alibaba_push"]
    for kind, _, least, most, weak, strong in names[:count]:
        for _ in range(500):
            length = max(4, int(rng.uniform(float(least), float(most)) * HOUR))
            if last - first <= length:
                continue
            begin = int(rng.integers(first, last - length))
            severity = float(rng.uniform(float(weak), float(strong)))
            channel = None
            application = push[rng.integers(len(push))]
            if kind == "vendor":
                provider = ["infobip_push", "engagelab", "pushwoosh"][rng.integers(3)]
                affected = {own.key for own in push if own.provider == provider}
            elif kind == "channel":
                with_parts = [own for own in push if len(own.parts) > 1]
                application = with_parts[rng.integers(len(with_parts))]
                channel = application.parts[rng.integers(len(application.parts))].vendor_channel
                affected = {
                    own.key for own in push
                    if own.account == application.account and any(part.vendor_channel == channel for part in own.parts)
                }
            elif kind == "channel_everywhere":
                channel = ["fcm", "apns"][rng.integers(2)]
                affected = {own.key for own in push if any(part.vendor_channel == channel for part in own.parts)}
            elif kind == "silence":
                steady = [own for own in push if own.stream >= 900]
                affected = {steady[rng.integers(len(steady))].key}
            elif kind in ("bounces", "complaints"):
                affected = {own.key for own in APPLICATIONS if own.channel == "email"}
            else:
                affected = {application.key}
            new = Incident(str(kind), begin, begin + length, severity, affected, channel)
            gap = 14 * HOUR
            if all(
                new.begin > old.end + gap or old.begin > new.end + gap or not new.applications & old.applications
                for old in incidents
            ):
                incidents.append(new)
                break
    return sorted(incidents, key=lambda own: own.begin)


class Series:
    """Series by name and labels; counters are given by their increments."""

    def __init__(self, steps: int):
        self.steps = steps
        self.increments: dict[tuple, np.ndarray] = {}
        self.gauges: dict[tuple, np.ndarray] = {}

    def add(self, name: str, labels: dict, step: int | np.ndarray, amount) -> None:
        """Counts; what is beyond the end is left out."""
        key = (name, tuple(sorted(labels.items())))
        series = self.increments.get(key)
        if series is None:
            series = self.increments[key] = np.zeros(self.steps)
        step = np.asarray(step)
        inside = step < self.steps
        np.add.at(series, step[inside], np.broadcast_to(amount, step.shape)[inside])


def rhythm(application: Application, steps: np.ndarray) -> np.ndarray:
    """How busy a step is, 1 on the average of a weekday."""
    hour = steps % DAY / HOUR
    day = (steps // DAY + 4) % 7
    busy = application.night + (1 - application.night) * np.clip(np.sin((hour - 6) / 16 * math.pi), 0, None) * 1.7
    return busy * np.where(day >= 5, application.weekend, 1.0)


class World:
    """Some days of all applications."""

    def __init__(self, seed: int, days: float, warm_up: float, count: int):
        self.rng = np.random.default_rng(seed)
        self.steps = int((days + warm_up) * DAY)
        self.first = int(warm_up * DAY)
        self.incidents = draw_incidents(self.rng, self.first, self.steps - 2 * HOUR, count)
        self.series = Series(self.steps)
        # When the numbers of an account stand still, as its vendor's API is down for a while.
        self.pauses: dict[str, list[tuple[int, int]]] = {}
        for account in {own.account for own in APPLICATIONS}:
            begins = self.rng.integers(0, self.steps, size=max(1, int(days // 10)))
            self.pauses[account] = [(int(begin), int(begin) + int(self.rng.integers(2, 5))) for begin in begins]
        for application in APPLICATIONS:
            if application.channel == "email":
                self._mail(application)
            else:
                self._push(application)

    def _affecting(self, application: Application, *kinds: str) -> list[Incident]:
        return [
            own for own in self.incidents
            if application.key in own.applications and (not kinds or own.kind in kinds)
        ]

    def _events(self, application: Application) -> list[tuple[int, int, int, float, np.ndarray]]:
        """Step, recipients, messages, effect on the log odds, mix of parts."""
        rng = self.rng
        mix = np.array([part.share for part in application.parts])
        silent = np.zeros(self.steps, bool)
        for own in self._affecting(application, "silence"):
            silent[own.begin:own.end] = True
        steps = np.arange(self.steps)
        events = []
        if application.stream:
            rate = application.stream * STEP / 3600 * rhythm(application, steps)
            # The load of a five-minute step is no pure chance either.
            counts = rng.poisson(rate * rng.gamma(20, 1 / 20, self.steps))
            for step in np.flatnonzero((counts > 0) & ~silent):
                events.append((int(step), int(counts[step]), int(counts[step]), 0.0, mix))
        if application.campaigns:
            busy = rhythm(application, steps)
            times = np.flatnonzero(rng.random(self.steps) < application.campaigns / DAY * busy)
            for step in times[~silent[times]]:
                size = int(application.size * rng.lognormal(0, 0.9)) + 1
                effect = rng.normal(0, application.unrest)
                own = mix * rng.gamma(30, 1 / 30, len(mix))
                kind = rng.random()
                if len(mix) > 1 and kind < 0.08:
                    # For one platform alone.
                    platform = application.parts[rng.integers(len(mix))].platform
                    own = own * [part.platform == platform for part in application.parts]
                elif kind > 0.985:
                    # To people who have not been here for long.
                    effect -= 1.2
                events.append((int(step), size, 1, effect, own / own.sum()))
        return events

    def _push(self, application: Application) -> None:
        rng, series = self.rng, self.series
        top = {"provider": application.provider, "account": application.account, "application": application.name}
        plain = top | {"channel": application.channel}
        daily = application.provider == "alibaba_push"
        ages = DAILY_AGES if daily else AGES
        incidents = self._affecting(application)
        for name in ("sent", "delivered"):
            series.add(f"delivery_{name}_total", plain, 0, 0)
            for age in ages:
                series.add(f"delivery_cohort_{name}_total", plain | {"age": age[1]}, 0, 0)
        for reason in ("registration", "expired", "cloud"):
            series.add("delivery_errors_total", plain | {"reason": reason}, 0, 0)
        paused = np.arange(self.steps)
        for begin, end in self.pauses[application.account]:
            paused[begin:end] = end
        for step, recipients, messages, effect, mix in self._events(application):
            counts = rng.multinomial(recipients, mix)
            hit = [own for own in incidents if own.begin <= step < own.end]
            shown = int(paused[min(step + 1, self.steps - 1)])
            series.add("delivery_sent_total", plain, shown, recipients)
            whole = np.zeros(len(ages), int)
            uninstalled = 0.012
            lost = 0
            for part, count in zip(application.parts, counts):
                if count == 0:
                    continue
                odds = math.log(part.rate / (1 - part.rate)) + effect
                rate = 1 / (1 + math.exp(-odds))
                factor = 1.0
                for own in hit:
                    if own.kind == "silence":
                        continue
                    left = own.factor(step, part)
                    factor *= left
                    if left <= 1 - VISIBLE:
                        visible = step + 2
                        own.visible = visible if own.visible is None else min(own.visible, visible)
                    if own.kind == "uninstalls" and left < 1:
                        uninstalled += own.severity
                final = rng.binomial(count, rate)
                left = rng.binomial(final, factor)
                lost += final - left
                remaining = left
                by_age = np.zeros(len(ages), int)
                for index in range(len(ages) - 1, -1, -1):
                    later = ages[index + 1][2] if index + 1 < len(ages) else 1.0
                    remaining = rng.binomial(remaining, ages[index][2] / later)
                    by_age[index] = remaining
                whole += by_age
                if application.breakdown:
                    labels = top | {"platform": part.platform, "vendor_channel": part.vendor_channel}
                    for (seconds, age, _), delivered in zip(ages, by_age):
                        self._cohort("delivery_cohort_channel", labels | {"age": age}, paused, step, seconds, count, delivered, messages, daily)
            before = 0
            for (seconds, age, _), delivered in zip(ages, whole):
                self._cohort("delivery_cohort", plain | {"age": age}, paused, step, seconds, recipients, delivered, messages, daily)
                when = step + math.ceil(seconds / STEP) + 1
                if when < self.steps:
                    series.add("delivery_delivered_total", plain, int(paused[when]), delivered - before)
                before = delivered
            cloud = any(own.kind in ("vendor", "channel", "channel_everywhere") for own in hit)
            errors = {
                "registration": rng.binomial(recipients, min(uninstalled, 1)),
                "cloud": rng.binomial(recipients, 0.004) + (lost if cloud else 0),
                "expired": rng.binomial(recipients, 0.006),
            }
            for reason, count in errors.items():
                series.add("delivery_errors_total", plain | {"reason": reason}, shown + 1, count)

    def _cohort(self, family, labels, paused, step, seconds, sent, delivered, messages, daily) -> None:
        when = step + math.ceil(seconds / STEP) + 1
        if daily:
            # The numbers of a day come in the next morning.
            when = (when // DAY + 1) * DAY + 8 * HOUR
        if when >= self.steps:
            return
        after = int(paused[when])
        if after - when > max(1, seconds // 10 // STEP):
            # Nobody answered at that age.
            return
        for measure, amount in (("sent", sent), ("delivered", delivered), ("messages", messages)):
            self.series.add(f"{family}_{measure}_total", labels, after, amount)

    def _mail(self, application: Application) -> None:
        rng, series = self.rng, self.series
        plain = {
            "provider": application.provider, "account": application.account, "application": application.name,
            "channel": "email",
        }
        steps = np.arange(self.steps)
        rate = application.stream * STEP / 3600 * rhythm(application, steps)
        sent = rng.poisson(rate)
        letters = rng.random(self.steps) < 2 / DAY * (rhythm(application, steps) > 0.8)
        sent = sent + letters * rng.integers(10000, 60000, self.steps)
        hard = np.full(self.steps, 0.008)
        complaints = np.full(self.steps, 0.0002)
        for own in self._affecting(application):
            own.visible = own.begin + 1
            if own.kind == "bounces":
                hard[own.begin:own.end] += own.severity
            if own.kind == "complaints":
                complaints[own.begin:own.end] += own.severity
        bounced = rng.binomial(sent, hard)
        soft = rng.binomial(sent - bounced, 0.012)
        series.add("delivery_sent_total", plain, steps, sent)
        series.add("delivery_bounces_total", plain | {"kind": "hard"}, steps, bounced)
        series.add("delivery_bounces_total", plain | {"kind": "soft"}, steps, soft)
        series.add("delivery_delivered_total", plain, steps, sent - bounced - soft)
        late = steps + rng.integers(2, 8 * HOUR, self.steps)
        series.add("delivery_complaints_total", plain, late, rng.binomial(sent, complaints))

    def measure(self) -> None:
        """How much of the traffic each incident takes, and how many recipients its window has."""
        for own in self.incidents:
            for application in APPLICATIONS:
                if application.key not in own.applications:
                    continue
                labels = {
                    "provider": application.provider, "account": application.account,
                    "application": application.name, "channel": application.channel,
                }
                sent = self.series.increments[("delivery_sent_total", tuple(sorted(labels.items())))]
                share = 1.0
                if own.vendor_channel:
                    usual = sum(part.share * part.rate for part in application.parts)
                    hit = [part for part in application.parts if part.vendor_channel == own.vendor_channel]
                    share = sum(part.share * part.rate for part in hit) / usual
                window = HOUR
                counts = np.convolve(sent[own.begin:own.end + window], np.ones(window), "valid")
                volume = counts.max() if len(counts) else 0
                if own.kind in ("silence",):
                    volume = application.stream
                own.share = max(own.share, share * own.severity)
                own.volume = max(own.volume, float(volume))
                if own.kind == "silence":
                    own.visible = own.begin + 1
