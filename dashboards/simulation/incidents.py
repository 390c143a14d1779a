"""What goes wrong in a simulated world, drawn from the seed."""

import dataclasses

import numpy as np

from applications import DAY, HOUR, Application, Part

# From what loss on an incident counts and is visible: a decay is smaller in its first hours.
VISIBLE = 0.05


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

    def left(self, steps: np.ndarray, part: Part) -> np.ndarray:
        """What of a part's deliveries is left for messages of these steps."""
        if self.kind in NOT_OF_DELIVERIES or self.vendor_channel not in (None, part.vendor_channel):
            return np.ones(len(steps))
        severity = np.full(len(steps), self.severity)
        if self.kind in ("decay", "slow_decay"):
            severity = self.severity * (steps - self.begin) / (self.end - self.begin)
        return np.where((self.begin <= steps) & (steps < self.end), 1 - severity, 1.0)


NOT_OF_DELIVERIES = ("silence", "bounces", "complaints", "daily_late")
# Kind, how often, hours from and to, severity from and to.
KINDS = (
    ("vendor", 4, 0.75, 5, 0.35, 1.0),
    ("channel", 5, 1, 8, 0.4, 1.0),
    # One channel of one application, about a sixth of its traffic, for an hour.
    ("small_channel", 4, 1, 1.5, 0.85, 1.0),
    ("channel_everywhere", 3, 0.75, 5, 0.4, 1.0),
    ("application", 7, 0.75, 6, 0.25, 1.0),
    ("decay", 2, 30, 48, 0.25, 0.5),
    ("slow_decay", 2, 72, 120, 0.2, 0.4),
    ("dip", 3, 0.34, 0.67, 0.5, 1.0),
    ("uninstalls", 3, 10, 24, 0.06, 0.2),
    ("expiry", 2, 3, 10, 0.1, 0.4),
    ("silence", 2, 1, 4, 1.0, 1.0),
    ("bounces", 1, 8, 20, 0.12, 0.3),
    ("complaints", 1, 8, 20, 0.004, 0.01),
    ("daily_late", 1, 24, 24, 1.0, 1.0),
    ("daily_low", 2, 24, 24, 0.2, 0.7),
)


def draw(rng: np.random.Generator, applications: list[Application], first: int, last: int, count: int) -> list[Incident]:
    """Incidents between two steps; none of them meets another one of the same application within 14 hours."""
    names = [kind for kind in KINDS for _ in range(kind[1])]
    rng.shuffle(names)
    found: list[Incident] = []
    for kind, _, least, most, weak, strong in names[:count]:
        for _ in range(300):
            new = _one(rng, applications, first, last, str(kind), (float(least), float(most)), (float(weak), float(strong)))
            if new is None:
                continue
            gap = 14 * HOUR
            if all(
                new.begin > old.end + gap or old.begin > new.end + gap or not new.applications & old.applications
                for old in found
            ):
                found.append(new)
                break
    return sorted(found, key=lambda own: own.begin)


def _one(rng, applications, first, last, kind, hours, severity) -> Incident | None:
    length = max(4, int(rng.uniform(*hours) * HOUR))
    if last - first <= length:
        return None
    begin = int(rng.integers(first, last - length))
    # What begins to send and fails at once has no past to be judged by.
    push = [own for own in applications if own.channel == "push" and not own.daily and (not own.born or own.born * DAY + 3 * DAY < begin)]
    application = push[rng.integers(len(push))]
    channel = None
    affected = {application.key}
    if kind == "vendor":
        provider = ["infobip_push", "engagelab", "pushwoosh"][rng.integers(3)]
        affected = {own.key for own in push if own.provider == provider}
    elif kind in ("channel", "small_channel"):
        several = [own for own in push if len(own.parts) > 1]
        application = several[rng.integers(len(several))]
        shares = [part.share for part in application.parts]
        part = application.parts[int(rng.integers(len(shares)))]
        if kind == "small_channel":
            part = min(application.parts, key=lambda own: abs(own.share - 1 / 6))
            if not 0.1 < part.share < 0.26:
                return None
        channel = part.vendor_channel
        affected = {
            own.key for own in push
            if own.account == application.account and any(part.vendor_channel == channel for part in own.parts)
        } if kind == "channel" else {application.key}
    elif kind == "channel_everywhere":
        channel = ["fcm", "apns"][rng.integers(2)]
        affected = {own.key for own in push if any(part.vendor_channel == channel for part in own.parts)}
    elif kind == "silence":
        steady = [own for own in push if own.stream >= 900]
        if not steady:
            return None
        affected = {steady[rng.integers(len(steady))].key}
    elif kind in ("uninstalls", "expiry"):
        told = [own for own in push if own.errors]
        affected = {told[rng.integers(len(told))].key}
    elif kind in ("bounces", "complaints"):
        affected = {own.key for own in applications if own.channel == "email" and own.stream}
    elif kind in ("daily_late", "daily_low"):
        # A whole day of the vendor (UTC+8).
        begin = int(begin // DAY * DAY + 16 * HOUR)
        length = DAY
        if begin < first or begin + 2 * DAY > last:
            return None
        affected = {own.key for own in applications if own.daily}
    return Incident(kind, begin, begin + length, float(rng.uniform(*severity)), affected, channel)
