"""Gauges of single messages: the campaigns' sends of the last day, with their vendor channels."""

import math

import numpy as np

from .traffic import AGES, APPLICATIONS, BEGIN, DAY, MINUTES, Application, Campaign, Incident, Series

# Shares of the final deliveries by minutes since the send; the curve between is a straight line.
CURVE = np.array([[0, 0.0], [1, 0.55]] + [[minutes, share] for minutes, _, share in AGES])


def identifier(rng: np.random.Generator, provider: str) -> str:
    """An id as the vendor makes them: each of them would be ruined as a number."""
    if provider == "pushwoosh":
        return f"{rng.integers(16**4):04X}-{rng.integers(16**8):08X}-{rng.integers(16**8):08X}"
    digits = {"engagelab": 10, "alibaba_push": 17}.get(provider, 19)
    return str(rng.integers(1, 9)) + "".join(str(digit) for digit in rng.integers(0, 10, digits - 1))


def add(rng: np.random.Generator, series: Series, incidents: tuple[Incident, ...]) -> None:
    """Adds every campaign's sends within the last day."""
    for application in APPLICATIONS:
        for campaign in application.campaigns:
            for hour in campaign.hours:
                minute = (DAYS_BEFORE_LAST * DAY) + int((hour - (BEGIN % 86400) / 3600) % 24 * 60)
                _message(rng, series, application, campaign, minute, incidents)


DAYS_BEFORE_LAST = MINUTES // DAY - 1


def _message(rng, series: Series, application: Application, campaign: Campaign, minute: int, incidents) -> None:
    top = application.labels | {"channel": application.channel, "campaign": campaign.name, "message_id": identifier(rng, application.provider)}
    clock = np.arange(MINUTES - DAY, MINUTES + 1)
    since = (clock - minute).astype(float)
    share = np.where(since < 0, np.nan, np.interp(since, CURVE[:, 0], CURVE[:, 1]))
    gone = np.where(since < 0, np.nan, 1.0)
    size = int(campaign.size * rng.lognormal(0, 0.15))
    sent_all, delivered_all = 0, 0
    for part in application.parts:
        sent = int(size * part.share)
        odds = math.log(part.rate / (1 - part.rate)) + campaign.effect + rng.normal(0, 0.1)
        delivered = int(sent / (1 + math.exp(-odds)))
        for own in incidents:
            if own.account == application.account and application.channel == "push" and MINUTES - own.begin <= minute < MINUTES - own.end:
                delivered = int(delivered * own.factor(part)[minute])
        sent_all, delivered_all = sent_all + sent, delivered_all + delivered
        if part.vendor_channel:
            leaf = {key: value for key, value in top.items() if key != "channel"}
            leaf |= {"message_type": "notification" if application.provider == "engagelab" else "", "platform": part.platform, "vendor_channel": part.vendor_channel}
            for measure, value in (("sent", sent * gone), ("delivered", delivered * share), ("opened", delivered * 0.06 * share)):
                series.gauge(f"delivery_message_channel_{measure}", leaf, np.floor(value))
            if application.provider == "engagelab":
                series.gauge("delivery_message_channel_targeted", leaf, np.floor(sent * 1.04 * gone))
                series.gauge("delivery_message_channel_displayed", leaf, np.floor(delivered * 0.55 * share))
    ratio = delivered_all / sent_all
    values = {
        "sent": sent_all * gone,
        "delivered": delivered_all * share,
        "opened": delivered_all * (0.21 if application.channel == "email" else 0.06) * share,
    }
    if application.channel == "push" and application.provider != "alibaba_push":
        values["displayed"] = delivered_all * 0.55 * share
    if application.provider == "engagelab":
        values["targeted"] = sent_all * 1.04 * gone
    for measure, value in values.items():
        series.gauge(f"delivery_message_{measure}", top, np.floor(value))
    series.gauge("delivery_message_delivery_ratio", top, ratio * share)
    if application.channel == "email":
        series.gauge("delivery_message_bounces", top | {"kind": "hard"}, np.floor(sent_all * 0.01 * gone))
    else:
        for reason, part in (("registration", 0.012), ("expired", 0.006), ("cloud", 0.003)):
            series.gauge("delivery_message_errors", top | {"reason": reason}, np.floor(sent_all * part * gone))
