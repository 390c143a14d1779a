"""The queries of the dashboards: counts, shares and what is usual, as PromQL."""

# What every query is narrowed down to, by the labels that its family has.
LABELS = 'job=~"$job",provider=~"$provider",account=~"$account",application=~"$application"'
# Families of the exporter itself have no provider: "All" accounts are those of the selected providers.
ACCOUNT = 'job=~"$job",account=~"$account"'
JOB = 'job=~"$job"'
# Vendors whose numbers come once a day have no early ages, but a first state.
AGE = 'age=~"$age|first"'
# Alerts have only the labels that their expression keeps.
ALERT_OF_ACCOUNT = 'alertname=~"Delivery.*",job=~"$job|",provider=~"$provider|",account=~"$account|"'
ALERT = f'{ALERT_OF_ACCOUNT},application=~"$application|"'
# The least number of expected deliveries behind a share of the usual.
EXPECTED = 30
# The least number of sends behind a rate.
SENDS = 30
# A share of the usual is not drawn above this: the past of a small part can be near zero.
MOST_OF_USUAL = 1.5


def select(family: str, *matchers: str) -> str:
    """A family's series."""
    return f"{family}{{{','.join(part for part in matchers if part)}}}"


def grown(family: str, by: str, *matchers: str, window: str = "$window", offset: str = "") -> str:
    """The increase within a window, over all replicas."""
    offset = f" offset {offset}" if offset else ""
    return f"sum by({by}) (increase({select(family, *(matchers or (LABELS,)))}[{window}]{offset}))"


def per_bar(family: str, by: str, *matchers: str) -> str:
    """The increase within each bar.

    `increase` over one bar loses what is counted between its last sample and the next bar's first: a campaign can
    vanish. The rate over a bar and one scrape more, times the bar's seconds, counts everything once.
    """
    return f"sum by({by}) (rate({select(family, *(matchers or (LABELS,)))}[$__rate_interval])) * $__interval_ms / 1000"


def share(part: str, whole: str, floor: int = SENDS) -> str:
    """A share that cannot exceed 1: the whole is never less than the part, and large enough to mean something."""
    return f"({part}) / ((({whole}) >= ({part}) or ({part})) >= {floor})"


def sends_behind(by: str, *matchers: str) -> str:
    """What errors of a window belong to: they come minutes after their sends, which may have left the window by then."""
    now, before = (grown("delivery_sent_total", by, *matchers, offset=offset) for offset in ("", "30m"))
    return f"({now} >= {before} or {before} or {now})"


def largest(count: int, by: str, family: str = "delivery_sent_total", *matchers: str) -> str:
    """Only the largest of the time that is shown: a picture of more lines cannot be read."""
    return f" and on({by}) topk({count}, sum by({by}) (increase({select(family, *(matchers or (LABELS,)))}[$__range] @ end())))"


def cohort_rate(by: str, breakdown: bool = False) -> str:
    """The delivery rate of messages of equal age."""
    family = "delivery_cohort_channel" if breakdown else "delivery_cohort"
    return share(grown(f"{family}_delivered_total", by, LABELS, AGE), grown(f"{family}_sent_total", by, LABELS, AGE))


def of_usual(by: str, level: str = "application", window: str = "15m", floor: int = EXPECTED, *matchers: str) -> str:
    """What was delivered as a share of what the own past lets expect, at equal age and mix."""
    matchers = matchers or (LABELS, AGE)
    missing = f"sum by({by}) ({select(f'delivery:{level}_missing:increase{window}', *matchers)})"
    expected = f"sum by({by}) ({select(f'delivery:{level}_expected:increase{window}', *matchers)})"
    return f"clamp_max(1 - {missing} / ({expected} >= {floor}), {MOST_OF_USUAL})"
