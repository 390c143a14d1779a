"""What Prometheus has scraped of a world, and the steps at which alerts fire: by promtool, or all at once."""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import yaml

import promql
import world
from applications import STEP

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE.parent / "alerts" / "delivery.rules.yml"
# The rule that everyone writes.
NAIVE = """
groups:
- name: naive
  rules:
  - alert: NaiveDeliveryRate
    expr: sum by(provider, account, application) (increase(delivery_delivered_total[15m]))
      / sum by(provider, account, application) (increase(delivery_sent_total[15m])) < 0.9
    for: 10m
    labels: {severity: page}
"""
MINUTES = STEP // 60
NOTHING = np.nan


def scraped(made: world.World, seed: int) -> list[tuple[str, dict, np.ndarray]]:
    """Series from two replicas, one of which takes an account over twice."""
    rng = np.random.default_rng(seed + 1000)
    steps = made.steps
    first, second = sorted(int(step) for step in rng.integers(made.first, steps, 2))
    found = []
    for (name, labels), increments in made.series.increments.items():
        labels = dict(labels)
        target = {"job": "delivery", "instance": "a:9847"}
        shown = np.cumsum(increments)
        begins = made.series.begins[(name, tuple(sorted(labels.items())))]
        shown[:begins] = NOTHING
        if labels["account"] != "asia":
            found.append((name, target | labels, shown))
            continue
        # A counter is what this replica has released: b begins at 0, a goes on where it was.
        begin, middle = shown[first - 1], shown[second - 1] - shown[first - 1]
        a, b = shown.copy(), np.full(steps, NOTHING)
        a[first:second] = NOTHING
        a[second:] -= middle
        b[first:second] = shown[first:second] - begin
        b[first:first + 1] = 0
        found.append((name, target | labels, a))
        found.append((name, target | labels | {"instance": "b:9847"}, b))
    for account, pauses in made.pauses.items():
        provider = next(own.provider for own in made.applications if own.account == account)
        up = np.ones(steps)
        for begin, end in pauses:
            up[begin:end] = 0
        found.append(("delivery_up", {"job": "delivery", "instance": "a:9847", "provider": provider, "account": account}, up))
    for instance in ("a:9847", "b:9847"):
        for name in ("up", "delivery_exporter_store_up"):
            found.append((name, {"job": "delivery", "instance": instance}, np.ones(steps)))
    return found


def groups() -> list[dict]:
    """The rules, and the naive one."""
    return yaml.safe_load(RULES.read_text())["groups"] + yaml.safe_load(NAIVE)["groups"]


def at_once(made: world.World, seed: int, left_open: bool = False, keep: frozenset[str] = frozenset()) -> promql.Engine:
    """The rules over the whole world by `promql`; the engine has what they recorded and what fired."""
    engine = promql.Engine(made.steps, STEP, left_open)
    by_name: dict[str, list] = collections.defaultdict(list)
    for name, labels, values in scraped(made, seed):
        by_name[name].append((tuple(sorted(labels.items())), values))
    for name, rows in by_name.items():
        engine.put(name, promql.Vector([own for own, _ in rows], np.array([values for _, values in rows])))
    promql.run(engine, groups(), keep)
    return engine


def fired(engine: promql.Engine, first: int) -> dict[tuple, list[int]]:
    """The steps at which each alert fired."""
    found = {}
    alerts = engine.series.get("ALERTS", engine.empty())
    for labels, values in zip(alerts.labels, alerts.values):
        labels = dict(labels)
        if labels.pop("alertstate") != "firing":
            continue
        steps = [int(step) for step in np.flatnonzero(~np.isnan(values)) if step >= first]
        if steps:
            found[tuple(sorted(labels.items()))] = steps
    return found


def labels_text(name: str, labels: dict[str, str]) -> str:
    """A series as promtool names it."""
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inner}}}"


def runs(values: np.ndarray) -> str:
    """Values in promtool's notation, equal ones together; what ends is marked as stale."""
    there = np.nan_to_num(values, nan=-1.0)
    edges = np.flatnonzero(np.diff(there, prepend=np.nan, append=np.nan))
    parts = []
    for begin, end in zip(edges, edges[1:]):
        length, last = end - begin, parts[-1] if parts else ""
        if there[begin] >= 0:
            value = f"{there[begin]:.0f}"
            parts.append(value if length == 1 else f"{value}x{length - 1}")
            continue
        if last and last != "stale":
            parts.append("stale")
            length -= 1
        if length:
            parts.append(f"_x{length}")
    return " ".join(parts)


UNITS = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
ALERT = re.compile(r"(\w+)=\\?\"((?:[^\"\\]|\\[^\"])*)\\?\"")


def by_promtool(made: world.World, seed: int, promtool: str) -> dict[tuple, list[int]]:
    """The steps at which each alert fired."""
    every = range(made.first, made.steps)
    series = [
        {"series": labels_text(name, labels), "values": runs(values)} for name, labels, values in scraped(made, seed)
    ]
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "naive.yml").write_text(NAIVE)
        test = {
            "rule_files": [str(RULES), "naive.yml"],
            "evaluation_interval": f"{MINUTES}m",
            # Without an order a group may read what another recorded a step before.
            "group_eval_order": [group["name"] for group in groups()],
            "tests": [{
                "interval": f"{MINUTES}m",
                "input_series": series,
                "promql_expr_test": [
                    {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{step * MINUTES}m", "exp_samples": []}
                    for step in every
                ],
            }],
        }
        file = directory / "days.test.yml"
        # JSON is YAML, and much faster to write.
        file.write_text(json.dumps(test))
        done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True)
    output = done.stdout + done.stderr
    found: dict[tuple, list[int]] = collections.defaultdict(list)
    step = None
    for line in output.splitlines():
        if "time: " in line:
            time = re.search(r"time: ([\dywdhms.]+)", line)[1]
            seconds = sum(
                float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)([wdhms])", time)
            )
            step = round(seconds / STEP)
        elif "got:" in line and step is not None:
            for sample in re.findall(r"\{[^{}]*\}", line):
                labels = dict(ALERT.findall(sample))
                labels.pop("__name__", None)
                labels.pop("alertstate", None)
                if "alertname" not in labels:
                    sys.exit(f"promtool's output is not understood: {line[:300]}")
                found[tuple(sorted(labels.items()))].append(step)
    if not found and "FAILED" in output and "got:" not in output:
        sys.exit(f"promtool failed: {output[:2000]}")
    return found
