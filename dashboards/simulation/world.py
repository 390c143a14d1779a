"""Some days of applications with incidents: the series that an exporter would show.

Everything is on a grid of five minutes. The generator knows nothing of the rules.
"""

import math

import numpy as np

import incidents
from applications import DAY, HOUR, STEP, Application, Draw, at_night, rhythm
from incidents import VISIBLE, Incident

# Seconds and the label of the ages, and what is delivered by then of what the first five minutes leave.
AGES = [(300, "5m", 0.0), (900, "15m", 0.45), (3600, "1h", 0.72), (21600, "6h", 0.9), (86400, "24h", 0.98), (259200, "72h", 1.0)]
# Of a vendor that publishes once a day: days after the first publication.
DAILY_AGES = [(0, "first", 0.985), (1, "24h", 0.997), (3, "72h", 1.0)]
# A daily vendor's day begins at midnight in UTC+8, and its numbers are there at six.
VENDOR_ZONE = 8 * HOUR
PUBLISHED = 6 * HOUR


class Series:
    """Counters by name and labels, given by their increments."""

    def __init__(self, steps: int):
        self.steps = steps
        self.increments: dict[tuple, np.ndarray] = {}
        # The step at which a series begins to exist.
        self.begins: dict[tuple, int] = {}

    def add(self, name: str, labels: dict, step, amount, begins: int = 0) -> None:
        """Counts; what is beyond the end is left out."""
        key = (name, tuple(sorted(labels.items())))
        series = self.increments.get(key)
        if series is None:
            series = self.increments[key] = np.zeros(self.steps)
            self.begins[key] = begins
        step = np.asarray(step)
        amount = np.broadcast_to(amount, step.shape)
        inside = step < self.steps
        np.add.at(series, step[inside], amount[inside])


class World:
    """Some days of all applications."""

    def __init__(self, seed: int, days: float, warm_up: float, count: int, only: frozenset[str] | None = None):
        self.rng = np.random.default_rng(seed)
        self.steps = int((days + warm_up) * DAY)
        self.first = int(warm_up * DAY)
        applications = Draw(self.rng, days, warm_up).all()
        self.applications = [own for own in applications if only is None or own.name in only]
        self.incidents = incidents.draw(self.rng, self.applications, self.first, self.steps - 2 * HOUR, count)
        self.series = Series(self.steps)
        # When the numbers of an account stand still, as its vendor's API is down for a while.
        self.pauses: dict[str, list[tuple[int, int]]] = {}
        for account in sorted({own.account for own in self.applications}):
            begins = self.rng.integers(0, self.steps, size=max(1, int(days // 7)))
            self.pauses[account] = [(int(begin), int(begin) + int(self.rng.integers(2, 5))) for begin in begins]
        for application in self.applications:
            (self._mail if application.channel == "email" else self._push)(application)
        for own in self.incidents:
            self._measure(own)

    def _affecting(self, application: Application, *kinds: str) -> list[Incident]:
        return [
            own for own in self.incidents
            if application.key in own.applications and (not kinds or own.kind in kinds)
        ]

    def _events(self, application: Application):
        """Messages: step, recipients, messages, effect on the log odds, on errors, and the mix of parts."""
        rng, steps = self.rng, np.arange(self.steps)
        busy = rhythm(application, steps)
        mix = np.array([part.share for part in application.parts])
        found = []
        if application.stream:
            # The load of a five-minute step is no pure chance either, nor is an hour's rate.
            counts = rng.poisson(application.stream * STEP / 3600 * busy * rng.gamma(20, 1 / 20, self.steps))
            hours = self.steps // HOUR + 1
            effect = rng.normal(0, 0.3 * application.unrest, hours)[steps // HOUR]
            unrest = rng.normal(0, 1, hours)[steps // HOUR]
            found.append((steps, counts, counts, effect, unrest, np.broadcast_to(mix, (self.steps, len(mix)))))
        if application.campaigns:
            times = np.flatnonzero(rng.random(self.steps) < application.campaigns / DAY * busy)
            size = (application.size * rng.lognormal(0, 0.9, len(times))).astype(int) + 1
            effect = rng.normal(0, application.unrest, len(times))
            own = mix * rng.gamma(30, 1 / 30, (len(times), len(mix)))
            kind = rng.random(len(times))
            for row in np.flatnonzero(kind < 0.08):
                # For one platform alone.
                platform = application.parts[rng.integers(len(mix))].platform
                own[row] *= [part.platform == platform for part in application.parts]
            # To people who have not been here for long.
            effect[kind > 0.985] -= 1.2
            if not application.stream and not application.daily and rng.random() < 0.5:
                # A quiet stretch, and then one large campaign to an unusual audience.
                at = int(rng.integers(self.first, self.steps - 3 * HOUR))
                keep = (times < at - int(rng.uniform(10, 36) * HOUR)) | (times > at + int(rng.uniform(0.5, 6) * HOUR))
                times, size, effect, own = times[keep], size[keep], effect[keep], own[keep]
                times, size = np.append(times, at), np.append(size, int(application.size * rng.uniform(1, 4)) + 1)
                effect, own = np.append(effect, -rng.uniform(0.6, 1.8)), np.vstack([own, mix])
            own /= own.sum(axis=1, keepdims=True)
            found.append((times, size, np.ones(len(times), int), effect, rng.normal(0, 1, len(times)), own))
        columns = [np.concatenate(parts) for parts in zip(*found)]
        keep = (columns[1] > 0) & (columns[0] >= application.born * DAY)
        for own in self._affecting(application, "silence"):
            keep &= ~((own.begin <= columns[0]) & (columns[0] < own.end))
        return [column[keep] for column in columns]

    def _odds(self, application: Application, step: np.ndarray) -> np.ndarray:
        """What a night and a new release do to the log odds of a delivery."""
        odds = application.night_effect * at_night(application, step)
        if application.drift:
            day, change = application.drift
            # A release is taken up over two days.
            odds = odds + change * np.clip((step - day * DAY) / (2 * DAY), 0, 1)
        return odds

    def _push(self, application: Application) -> None:
        rng, series = self.rng, self.series
        # Counters are shown at 0 before what they count.
        begins = max(int(application.born * DAY) - 1, 0)
        top = {"provider": application.provider, "account": application.account, "application": application.name}
        plain = top | {"channel": application.channel}
        ages = DAILY_AGES if application.daily else AGES
        hits = self._affecting(application)
        step, recipients, messages, effect, unrest, mix = self._events(application)
        paused = np.arange(self.steps + 4 * DAY)
        for begin, end in self.pauses[application.account]:
            paused[begin:end] = end
        counts = rng.multinomial(recipients, mix)
        odds = effect + self._odds(application, step)
        shown = self._published(step, 0) if application.daily else paused[step + 1]
        series.add("delivery_sent_total", plain, shown, recipients, begins)
        whole = np.zeros((len(ages), len(step)), int)
        lost = np.zeros((len(hits), len(step)), int)
        for index, part in enumerate(application.parts):
            count = counts[:, index]
            rate = 1 / (1 + np.exp(-(math.log(part.rate / (1 - part.rate)) + odds)))
            left = rng.binomial(count, rate)
            for row, own in enumerate(hits):
                share = own.left(step, part)
                kept = rng.binomial(left, share)
                lost[row] += left - kept
                left = kept
                self._see(own, step[(share <= 1 - VISIBLE) & (count > 0)])
            by_age, later = [], 1.0
            for _, _, by_then in reversed(ages):
                by_now = by_then if application.daily else application.quick + (1 - application.quick) * by_then
                left = rng.binomial(left, by_now / later)
                later = by_now
                by_age.insert(0, left)
            whole += np.array(by_age)
            if application.breakdown:
                labels = top | {"platform": part.platform, "vendor_channel": part.vendor_channel}
                some = count > 0
                for (age, label, _), delivered in zip(ages, by_age):
                    self._cohort(
                        "delivery_cohort_channel", labels | {"age": label}, paused, application.daily, age, begins,
                        step[some], count[some], delivered[some], np.minimum(messages, count)[some],
                    )
        before = 0
        for (age, label, _), delivered in zip(ages, whole):
            self._cohort(
                "delivery_cohort", plain | {"age": label}, paused, application.daily, age, begins, step, recipients, delivered, messages,
            )
            when = self._published(step, age) if application.daily else paused[np.minimum(step + math.ceil(age / STEP) + 1, len(paused) - 1)]
            series.add("delivery_delivered_total", plain, when, delivered - before, begins)
            before = delivered
        self._errors(application, plain, begins, step, counts, unrest, shown, dict(zip([id(own) for own in hits], lost)), hits)

    def _see(self, own: Incident, steps: np.ndarray) -> None:
        """An incident shows from the first message that it takes deliveries of."""
        if len(steps) and own.kind != "daily_low":
            visible = int(steps.min()) + 2
            own.visible = visible if own.visible is None else min(own.visible, visible)

    def _errors(self, application, plain, begins, step, counts, unrest, shown, lost, hits) -> None:
        rng = self.rng
        platforms = {"ios": 1.6, "web": 0.4}
        tilt = np.array([platforms.get(part.platform, 1.0) for part in application.parts])
        for reason, usual in application.errors:
            share = np.where(at_night(application, step), usual.night, usual.day) * np.exp(usual.unrest * unrest)
            by_part = rng.binomial(counts, np.minimum(share[:, None] * tilt, 0.95))
            whole = by_part.sum(axis=1)
            if application.breakdown:
                for part, sent, own in zip(application.parts, counts.T, by_part.T):
                    labels = {name: value for name, value in plain.items() if name != "channel"} | {
                        "message_type": "notification", "platform": part.platform, "vendor_channel": part.vendor_channel,
                    }
                    self.series.add("delivery_channel_errors_total", labels, shown + 1, own, begins)
                    if reason == application.errors[0][0]:
                        self.series.add("delivery_channel_sent_total", labels, shown, sent, begins)
            for own in hits:
                cause = {"uninstalls": "registration", "expiry": "expired", "silence": ""}.get(own.kind, "cloud")
                if cause == reason and own.kind not in ("application", "decay", "slow_decay", "dip", "daily_low"):
                    whole = whole + lost[id(own)]
            self.series.add("delivery_errors_total", plain | {"reason": reason}, shown + 1, whole, begins)

    def _published(self, step: np.ndarray, days: int) -> np.ndarray:
        """When a daily vendor's numbers of these messages come."""
        day = (step + VENDOR_ZONE) // DAY + days
        found = (day + 1) * DAY - VENDOR_ZONE + PUBLISHED
        for own in self.incidents:
            if own.kind == "daily_late":
                late = day == (own.begin + VENDOR_ZONE) // DAY
                # Three to ten hours later than usual.
                found = np.where(late, found + int((3 + 7 * (own.begin % 97) / 97) * HOUR), found)
        return found

    def _cohort(self, family, labels, paused, daily, age, begins, step, sent, delivered, messages) -> None:
        if daily:
            after = self._published(step, age)
        else:
            when = np.minimum(step + math.ceil(age / STEP) + 1, len(paused) - 1)
            after = paused[when]
            # Nobody answered at that age.
            keep = after - when <= max(1, age // 10 // STEP)
            after, sent, delivered, messages = after[keep], sent[keep], delivered[keep], messages[keep]
        for measure, amount in (("sent", sent), ("delivered", delivered), ("messages", messages)):
            self.series.add(f"{family}_{measure}_total", labels, after, amount, begins)

    def _mail(self, application: Application) -> None:
        rng, series = self.rng, self.series
        plain = {
            "provider": application.provider, "account": application.account, "application": application.name,
            "channel": "email",
        }
        steps = np.arange(self.steps)
        busy = rhythm(application, steps)
        if application.stream:
            sent = rng.poisson(application.stream * STEP / 3600 * busy)
            letters = rng.random(self.steps) < 2 / DAY * (busy > 0.8)
            sent = sent + letters * rng.integers(10000, 60000, self.steps)
        else:
            letters = rng.random(self.steps) < application.campaigns / DAY * busy
            sent = letters * (application.size * rng.lognormal(0, 0.5, self.steps)).astype(int)
        hard = np.full(self.steps, 0.008)
        complaints = np.full(self.steps, 0.0002)
        if not application.stream:
            # A few of a small list complain about one in ten letters: that is no incident.
            complaints = np.where(rng.random(self.steps) < 0.1, 0.008, complaints)
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

    def _measure(self, own: Incident) -> None:
        """How much of the traffic an incident takes, and how many recipients its busiest hour has."""
        for application in self.applications:
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
                share = sum(part.share * part.rate for part in application.parts if part.vendor_channel == own.vendor_channel) / usual
            window = DAY if application.daily else HOUR
            counts = np.convolve(sent[own.begin:own.end + window], np.ones(window), "valid")
            volume = counts.max() if len(counts) else 0
            if own.kind == "silence":
                volume, own.visible = application.stream, own.begin + 1
            if own.kind.startswith("daily"):
                # The next morning; what is an hour late is late.
                own.visible = own.begin + DAY + PUBLISHED + (HOUR if own.kind == "daily_late" else 1)
                own.volume = 1000.0
            own.share = max(own.share, share * own.severity)
            own.volume = max(own.volume, float(volume))
