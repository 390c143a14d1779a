"""Who sends in a simulated world: drawn from the seed, so that no rule can fit one world."""

import dataclasses
import math

import numpy as np

STEP = 300
HOUR = 3600 // STEP
DAY = 24 * HOUR


@dataclasses.dataclass(frozen=True)
class Part:
    """A vendor channel: its share of an application's recipients, and its rate."""

    platform: str
    vendor_channel: str
    share: float
    rate: float


@dataclasses.dataclass(frozen=True)
class Errors:
    """How many sends fail for a reason: by day and at night, and how much messages differ."""

    day: float
    night: float
    unrest: float = 0.15


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
    # How a day goes, in which time zone, and how much is left at night and on a weekend.
    shape: str = "day"
    zone: int = 0
    night: float = 0.1
    weekend: float = 0.7
    # What the night does to the log odds of a delivery.
    night_effect: float = 0.0
    # The share of what is delivered in the end that is delivered within five minutes.
    quick: float = 0.86
    errors: tuple[tuple[str, Errors], ...] = ()
    # The day on which it begins to send, and the day and size of a change of its usual rate (log odds).
    born: float = 0.0
    drift: tuple[float, float] | None = None
    breakdown: bool = True
    channel: str = "push"

    @property
    def key(self) -> tuple[str, str, str]:
        """How alerts name it."""
        return (self.provider, self.account, self.name)

    @property
    def daily(self) -> bool:
        """Whether its vendor publishes once a day."""
        return self.provider == "alibaba_push"


def rhythm(application: Application, steps: np.ndarray) -> np.ndarray:
    """How busy a step is, about 1 on the average of a weekday."""
    local = steps + application.zone * HOUR
    hour = local % DAY / HOUR
    day = (local // DAY + 4) % 7
    if application.shape == "office":
        busy = ((hour >= 8) & (hour < 18)) * 2.0
    elif application.shape == "peaks":
        busy = 2.4 * np.exp(-(((hour - 8) / 2) ** 2)) + 3.2 * np.exp(-(((hour - 19.5) / 2.2) ** 2))
    elif application.shape == "flat":
        busy = np.ones(len(steps))
    else:
        busy = np.clip(np.sin((hour - 6) / 16 * math.pi), 0, None) * 1.7
    busy = application.night + (1 - application.night) * busy
    return busy * np.where(day >= 5, application.weekend, 1.0)


def at_night(application: Application, steps: np.ndarray) -> np.ndarray:
    """Whether people sleep."""
    hour = (steps + application.zone * HOUR) % DAY / HOUR
    return (hour < 6.5) | (hour >= 23)


CHINA = (
    ("huawei", 0.25, 0.93), ("xiaomi", 0.22, 0.90), ("oppo", 0.18, 0.88), ("vivo", 0.15, 0.89), ("honor", 0.1, 0.91), ("meizu", 0.02, 0.8),
)
WEST = (("ios", "apns", 0.30, 0.74), ("web", "chrome", 0.08, 0.55), ("android", "huawei", 0.05, 0.86), ("web", "firefox", 0.02, 0.6))


class Draw:
    """Draws applications."""

    def __init__(self, rng: np.random.Generator, days: float, warm_up: float):
        self.rng = rng
        self.days = days
        self.warm_up = warm_up

    def _shares(self, parts: list[tuple]) -> tuple[Part, ...]:
        shares = np.array([own[2] for own in parts]) * self.rng.gamma(8, 1 / 8, len(parts))
        shares /= shares.sum()
        return tuple(
            Part(own[0], own[1], float(share), float(np.clip(own[3] + self.rng.normal(0, 0.03), 0.3, 0.985)))
            for own, share in zip(parts, shares)
        )

    def china(self) -> tuple[Part, ...]:
        """Handset makers' channels, four to six of them, FCM and often APNs."""
        makers = [("android", *own) for own in CHINA[: int(self.rng.integers(4, 7))]]
        return self._shares(makers + [("android", "fcm", 0.09, 0.85)] + ([("ios", "apns", 0.13, 0.70)] if self.rng.random() < 0.8 else []))

    def west(self) -> tuple[Part, ...]:
        """FCM, and up to four others."""
        return self._shares([("android", "fcm", 0.62, 0.91), *WEST[: int(self.rng.integers(1, 5))]])

    def _errors(self, kind: float) -> tuple[tuple[str, Errors], ...]:
        """Low shares mostly; some applications have high ones all the time, or every night."""
        rng = self.rng
        usual = {"registration": Errors(0.012, 0.012), "cloud": Errors(0.004, 0.004), "expired": Errors(0.006, 0.009)}
        if kind < 0.3:
            share = rng.uniform(0.08, 0.3)
            usual["expired"] = Errors(share, share, rng.uniform(0.1, 0.4))
        elif kind < 0.6:
            usual["expired"] = Errors(rng.uniform(0.01, 0.04), rng.uniform(0.08, 0.3), rng.uniform(0.1, 0.4))
        elif kind < 0.7:
            share = rng.uniform(0.05, 0.15)
            usual["registration"] = Errors(share, share, 0.3)
        elif kind < 0.78:
            usual["cloud"] = Errors(rng.uniform(0.02, 0.08), rng.uniform(0.02, 0.12), 0.3)
        return tuple(usual.items())

    def application(self, provider: str, account: str, name: str, parts: tuple[Part, ...], **more) -> Application:
        """One with its own habits."""
        rng = self.rng
        drift = None
        if rng.random() < 0.15:
            # Up to 4 % fewer deliveries, or more: less than counts as an incident.
            usual = sum(part.share * part.rate for part in parts)
            drift = (
                float(rng.uniform(self.warm_up, self.warm_up + self.days)),
                float(rng.choice([-1, 1]) * rng.uniform(0.02, 0.04) / (1 - usual)),
            )
        habits = {
            "unrest": float(rng.uniform(0.12, 0.35)),
            "shape": str(rng.choice(["day", "day", "office", "peaks", "flat"])),
            "zone": int(rng.choice([0, 0, 1, 2, -5, -8, 3, 8])),
            "night": float(rng.uniform(0.02, 0.25)),
            "weekend": float(rng.choice([0.3, 0.6, 0.8, 1.0, 1.3])),
            "night_effect": float(rng.choice([0.0, 0.0, -0.1, -0.25])),
            "quick": float(rng.uniform(0.72, 0.92)),
            # Reasons are told by one vendor always, in these worlds sometimes by others.
            "errors": self._errors(float(rng.random())) if provider == "infobip_push" or rng.random() < 0.6 else (),
            "drift": drift,
        }
        return Application(provider, account, name, parts, **(habits | more))

    def sends(self, how: str) -> dict:
        """All the time, in campaigns, in few large ones, or in small ones."""
        rng = self.rng
        stream = {"stream": float(np.exp(rng.uniform(np.log(500), np.log(4000))))}
        if how == "stream":
            return stream
        if how == "both":
            return stream | {"campaigns": float(rng.uniform(1, 4)), "size": float(np.exp(rng.uniform(np.log(5000), np.log(40000))))}
        if how == "bursts":
            return {"campaigns": float(rng.uniform(3, 6)), "size": float(rng.uniform(60000, 200000)), "unrest": 0.15, "night": 0.02}
        if how == "tiny":
            return {"campaigns": 10.0, "size": 40.0, "unrest": 0.5}
        return {"campaigns": float(rng.uniform(8, 35)), "size": float(np.exp(rng.uniform(np.log(2500), np.log(20000))))}

    def all(self) -> list[Application]:
        """Those of one world."""
        rng, whole = self.rng, (Part("", "", 1, 0.0),)
        new = float(self.warm_up + rng.uniform(0.1, 0.5) * self.days)
        rate = lambda low, high: (dataclasses.replace(whole[0], rate=float(rng.uniform(low, high))),)  # noqa: E731
        found = [
            self.application("infobip_push", "global", "shop", rate(0.85, 0.95), breakdown=False, **self.sends("both")),
            self.application("infobip_push", "global", "bank", rate(0.9, 0.98), breakdown=False, **self.sends("stream")),
            self.application("engagelab", "asia", "news", self.china(), **self.sends("campaigns")),
            self.application("engagelab", "asia", "orders", self.china(), **self.sends("stream")),
            self.application("engagelab", "asia", "club", self.west(), **self.sends("tiny")),
            self.application("pushwoosh", "west", "loyalty", self.west(), **self.sends("both")),
            self.application("pushwoosh", "west", "games", self.west(), **self.sends("campaigns")),
            self.application(
                "pushwoosh", "west", "single", self._shares([[("ios", "apns", 1, 0.8)], [("android", "fcm", 1, 0.9)]][rng.integers(2)]),
                **self.sends(str(rng.choice(["stream", "campaigns"]))),
            ),
            self.application("pushwoosh", "west", "bursts", self.west(), **self.sends("bursts")),
            self.application(
                "alibaba_push", "cn", "mall", rate(0.7, 0.9), breakdown=False, campaigns=20, size=20000, zone=8, shape="day",
                errors=(), drift=None,
            ),
        ]
        if rng.random() < 0.6:
            found.append(self.application("infobip_push", "global", "taxi", rate(0.8, 0.95), breakdown=False, **self.sends("campaigns")))
        if rng.random() < 0.6:
            found.append(self.application("engagelab", "asia", "travel", self.china(), **self.sends("both")))
        where = [("infobip_push", "global", rate(0.8, 0.95), False), ("pushwoosh", "west", self.west(), True)][rng.integers(2)]
        found.append(
            self.application(
                where[0], where[1], "newcomer", where[2], breakdown=where[3], born=new,
                **(self.sends(str(rng.choice(["stream", "campaigns"]))) | {"drift": None}),
            )
        )
        mail = {"channel": "email", "breakdown": False, "errors": (), "drift": None}
        found.append(self.application("infobip_email", "mail", "letters", rate(0.97, 0.98), stream=float(rng.uniform(1500, 5000)), **mail))
        # A small list, of which a few people complain now and then.
        found.append(self.application("infobip_email", "club-mail", "club", rate(0.97, 0.98), campaigns=1.5, size=400.0, **mail))
        return found
