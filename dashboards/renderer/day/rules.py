"""What Prometheus would have recorded, and which alerts would have fired, had it run the rules all the time."""

import pathlib
import re

import yaml

from . import tsdb
from .traffic import BEGIN, DAY, END

HOUR = 3600
# The last day is evaluated each five minutes, everything before it each hour.
STEP = 300
UNITS = {"s": 1, "m": 60, "h": HOUR, "d": 24 * HOUR, "w": 168 * HOUR}


def levels(rules: list[dict]) -> list[list[dict]]:
    """Rules in an order in which each reads only what levels before it recorded."""
    made = {rule["record"] for rule in rules}
    reads = {id(rule): {name for name in re.findall(r"[a-z_]+:[\w:]+", rule["expr"]) if name in made} for rule in rules}
    done: set[str] = set()
    left, found = list(rules), []
    while left:
        ready = [rule for rule in left if reads[id(rule)] <= done]
        # A name that several rules record is there once all of them are.
        names = {rule["record"] for rule in ready} - {rule["record"] for rule in left if rule not in ready}
        if not ready:
            raise ValueError(f"rules that read each other: {[rule['record'] for rule in left]}")
        found.append(ready)
        done |= names
        left = [rule for rule in left if rule not in ready]
    return found


def seconds(duration: str) -> int:
    """A duration of Prometheus, such as 1h30m."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", duration))


def samples(labels: dict[str, str], values) -> list[str]:
    """A series as lines of OpenMetrics."""
    name = labels["__name__"]
    text = tsdb.head(name, {key: value for key, value in labels.items() if key != "__name__"})
    return [f"{text} {value} {stamp}\n" for stamp, value in values]


def recorded(base: str, rule: dict) -> list[str]:
    """A recording rule over its past, and more often over the last day."""
    lines = []
    start = END - (8 if rule["record"].startswith("delivery:slo_") else 1) * DAY * 60
    # What hourly series are made of is needed of all days, and a week of the objectives is drawn.
    spans = [(BEGIN + HOUR, start - HOUR, HOUR), (start, END, STEP)]
    for begin, end, step in spans:
        for series in tsdb.query_range(base, rule["expr"], begin, end, step):
            labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
            lines += samples({"__name__": rule["record"]} | labels | rule.get("labels", {}), ((t, v) for t, v in series["values"] if v != "NaN"))
    return lines


def fired(base: str, rule: dict) -> list[str]:
    """ALERTS and ALERTS_FOR_STATE of the last day."""
    lines = []
    wait, keep = (seconds(rule.get(key, "0s")) for key in ("for", "keep_firing_for"))
    for series in tsdb.query_range(base, rule["expr"], END - DAY * 60, END, STEP):
        labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
        labels |= {"alertname": rule["alert"]} | rule.get("labels", {})
        stamps = {int(float(t)) for t, _ in series["values"]}
        since, kept, firing, active = None, None, [], []
        for stamp in range(END - DAY * 60, END + 1, STEP):
            if stamp in stamps:
                since = stamp if since is None else since
                if stamp - since >= wait:
                    kept = stamp
            elif kept is None or stamp - kept > keep:
                since, kept = None, None
            if kept is not None:
                firing.append((stamp, 1))
            if since is not None:
                active.append((stamp, since))
        if firing:
            lines += samples({"__name__": "ALERTS", "alertstate": "firing"} | labels, firing)
        if active:
            lines += samples({"__name__": "ALERTS_FOR_STATE"} | labels, active)
    return lines


def record(data: pathlib.Path, file: pathlib.Path) -> None:
    """Adds to the data what a file of rules makes of them."""
    rules = [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    stages = [(level, recorded) for level in levels([rule for rule in rules if "record" in rule])]
    stages.append(([rule for rule in rules if "alert" in rule], fired))
    for level, evaluate in stages:
        with tsdb.prometheus(data) as base:
            lines = [line for rule in level for line in evaluate(base, rule)]
        if lines:
            tsdb.import_text(data, lines)
