"""Runs the rules over simulated days in promtool and reports what they found, beside the naive rule.

    python run.py --days 30 --seeds 18,19,20,22,23

The generator draws the incidents from the seed. Rules and thresholds were tuned on seeds 1 to 5, 11, 12, 16, 17 and 21.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import yaml

import world
from world import DAY, HOUR, STEP

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
# An incident may still be told of so long after its end: the rules' windows and what they keep.
AFTER = {"page": 2 * HOUR, "warning": 8 * HOUR}
# Those that look at a day.
AFTER_A_DAY = {"DeliveryHardBounces": 26 * HOUR, "DeliveryComplaints": 34 * HOUR}
MINUTES = STEP // 60


def labels_text(name: str, labels: dict[str, str]) -> str:
    """A series as promtool names it."""
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inner}}}"


def runs(values: np.ndarray) -> str:
    """Values in promtool's notation, equal ones together."""
    edges = np.flatnonzero(np.diff(values, prepend=np.nan, append=np.nan))
    parts = []
    for begin, end in zip(edges, edges[1:]):
        value = f"{values[begin]:.0f}"
        parts.append(value if end - begin == 1 else f"{value}x{end - begin - 1}")
    return " ".join(parts)


def input_series(made: world.World, rng: np.random.Generator) -> list[dict]:
    """What Prometheus has scraped: from two replicas, one of which takes an account over twice."""
    found = []
    steps = made.steps
    handed = sorted(int(step) for step in rng.integers(made.first, steps, 2))

    def add(name: str, labels: dict, values: str) -> None:
        found.append({"series": labels_text(name, labels), "values": values})

    for (name, labels), increments in made.series.increments.items():
        labels = dict(labels)
        target = {"job": "delivery", "instance": "a:9847"}
        if labels["account"] != "asia":
            add(name, target | labels, runs(np.cumsum(increments)))
            continue
        first, second = handed
        shown = np.cumsum(increments)
        # A counter is what this replica has released: b begins at 0, a goes on where it was.
        begin, middle = shown[first - 1], shown[second - 1] - shown[first - 1]
        add(
            name, target | labels,
            f"{runs(shown[:first])} stale {' '.join(['_x' + str(second - first - 2)])} {runs(shown[second:] - middle)}",
        )
        add(
            name, target | labels | {"instance": "b:9847"},
            f"_x{first - 1} {runs(np.concatenate([[0], shown[first + 1:second] - begin]))} stale",
        )
    for account, pauses in made.pauses.items():
        provider = next(own.provider for own in world.APPLICATIONS if own.account == account)
        up = np.ones(steps)
        for begin, end in pauses:
            up[begin:end] = 0
        add("delivery_up", {"job": "delivery", "instance": "a:9847", "provider": provider, "account": account}, runs(up))
    for instance in ("a:9847", "b:9847"):
        add("up", {"job": "delivery", "instance": instance}, f"1x{steps - 1}")
        add("delivery_exporter_store_up", {"job": "delivery", "instance": instance}, f"1x{steps - 1}")
    return found


UNITS = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
ALERT = re.compile(r"(\w+)=\\?\"((?:[^\"\\]|\\[^\"])*)\\?\"")


def timeline(made: world.World, seed: int) -> dict[tuple, list[int]]:
    """The steps at which each alert fired."""
    every = range(made.first, made.steps)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "naive.yml").write_text(NAIVE)
        test = {
            "rule_files": [str(RULES), "naive.yml"],
            "evaluation_interval": f"{MINUTES}m",
            # Without an order a group may read what another recorded a step before.
            "group_eval_order": [group["name"] for group in yaml.safe_load(RULES.read_text())["groups"]] + ["naive"],
            "tests": [{
                "interval": f"{MINUTES}m",
                "input_series": input_series(made, np.random.default_rng(seed + 1000)),
                "promql_expr_test": [
                    {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{step * MINUTES}m", "exp_samples": []}
                    for step in every
                ],
            }],
        }
        file = directory / "days.test.yml"
        # JSON is YAML, and much faster to write.
        file.write_text(json.dumps(test))
        done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    output = done.stdout + done.stderr
    fired: dict[tuple, list[int]] = collections.defaultdict(list)
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
                fired[tuple(sorted(labels.items()))].append(step)
    if not fired and "FAILED" in output and "got:" not in output:
        sys.exit(f"promtool failed: {output[:2000]}")
    return fired


def episodes(steps: list[int]) -> list[tuple[int, int]]:
    """Firing that goes on, with gaps of at most half an hour."""
    found: list[tuple[int, int]] = []
    for step in sorted(steps):
        if found and step - found[-1][1] <= 30 // MINUTES:
            found[-1] = (found[-1][0], step)
        else:
            found.append((step, step))
    return found


def concerns(labels: dict[str, str], own: world.Incident) -> bool:
    """Whether an alert's labels are about what an incident hits."""
    channel = labels.get("vendor_channel")
    if channel and own.vendor_channel and channel != own.vendor_channel:
        return False
    for provider, account, application in own.applications:
        if all(
            labels.get(label) in (None, value)
            for label, value in (("provider", provider), ("account", account), ("application", application))
        ):
            return True
    return False


def judge(made: world.World, fired: dict[tuple, list[int]], naive: bool) -> dict:
    """Precision, recall and time to detect."""
    false, true = collections.defaultdict(list), collections.Counter()
    found: dict[int, dict[str, int]] = collections.defaultdict(dict)
    for key, steps in fired.items():
        labels = dict(key)
        if (labels["alertname"] == "NaiveDeliveryRate") != naive:
            continue
        severity = labels["severity"]
        after = AFTER_A_DAY.get(labels["alertname"], AFTER[severity])
        for begin, end in episodes(steps):
            causes = [
                index for index, own in enumerate(made.incidents)
                if concerns(labels, own) and begin < own.end + after and end >= own.begin
            ]
            if not causes:
                false[severity].append((labels["alertname"], labels, begin))
                continue
            true[severity] += 1
            for index in causes:
                # It may have begun to fire before, for another reason.
                at = max(begin, made.incidents[index].begin)
                for kind in {severity, "any"}:
                    found[index][kind] = min(found[index].get(kind, at), at)
    counted = [
        index for index, own in enumerate(made.incidents)
        if own.visible is not None and own.share >= world.VISIBLE and own.volume >= 400
    ]
    # They take far less of the traffic, and are told of for its reputation.
    complaints = [index for index, own in enumerate(made.incidents) if own.kind == "complaints"]
    urgent = [
        index for index in counted
        if made.incidents[index].share >= 0.25 and made.incidents[index].kind not in ("decay", "uninstalls")
    ]
    delays = [
        max(0, found[index]["any"] - made.incidents[index].visible) * MINUTES for index in counted if index in found
    ]
    return {
        "false": false,
        "true": true,
        "counted": counted,
        "complaints": complaints,
        "heard": [index for index in complaints if index in found],
        "found": [index for index in counted if index in found],
        "missed": [index for index in counted if index not in found],
        "urgent": urgent,
        "paged": [index for index in urgent if "page" in found.get(index, {})],
        "delays": delays,
    }


def report(seed: int, made: world.World, fired: dict, verbose: bool) -> tuple[list, list]:
    """The figures of one run, and what went wrong in it in words."""
    rows, said = [], []
    for naive in (False, True):
        own = judge(made, fired, naive)
        false_pages, false_warnings = len(own["false"]["page"]), len(own["false"]["warning"])
        right = sum(own["true"].values())
        precision = right / max(1, right + false_pages + false_warnings)
        rows.append({
            "rules": "naive" if naive else "these",
            "seed": seed,
            "incidents": len(own["counted"]),
            "found": len(own["found"]),
            "complaints": f"{len(own['heard'])} of {len(own['complaints'])}",
            "urgent": len(own["urgent"]),
            "paged": len(own["paged"]),
            "false_pages": false_pages,
            "false_warnings": false_warnings,
            "precision": precision,
            "median": statistics.median(own["delays"]) if own["delays"] else None,
        })
        if verbose and not naive:
            for severity, cases in own["false"].items():
                for name, labels, begin in sorted(cases, key=lambda case: case[2]):
                    who = {key: value for key, value in labels.items() if key not in ("alertname", "severity", "job", "instance")}
                    said.append(f"  false {severity}: {name} {who} on day {(begin - made.first) / DAY:.2f}")
            kinds = collections.defaultdict(list)
            for index, delay in zip(own["found"], own["delays"]):
                kinds[made.incidents[index].kind].append(delay)
            said += [f"  minutes to detect: {kind} {sorted(delays)}" for kind, delays in sorted(kinds.items())]
            for index in own["missed"]:
                said.append(f"  missed: {made.incidents[index]}")
            for index in set(own["urgent"]) - set(own["paged"]):
                said.append(f"  not paged: {made.incidents[index]}")
    return rows, said


def one(arguments: tuple) -> tuple[list, list]:
    """A seed by itself."""
    seed, days, warm_up, incidents, verbose = arguments
    made = world.World(seed, days, warm_up, incidents)
    made.measure()
    return report(seed, made, timeline(made, seed), verbose)


def main() -> int:
    """Runs the seeds and checks the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--warm-up", type=float, default=8, help="days without incidents before them")
    parser.add_argument("--incidents", type=int, default=40)
    parser.add_argument("--seeds", default="18,19,20,22,23")
    parser.add_argument("--verbose", action="store_true")
    flags = parser.parse_args()
    jobs = [
        (int(seed), flags.days, flags.warm_up, flags.incidents, flags.verbose) for seed in flags.seeds.split(",")
    ]
    rows = []
    with concurrent.futures.ProcessPoolExecutor(max_workers=2) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, job) for job in jobs]):
            own, said = done.result()
            rows += own
            print("\n".join([f"seed {own[0]['seed']}:", *said, *map(str, own)]), file=sys.stderr, flush=True)
    print(
        "| rules | seed | incidents found | urgent ones paged | complaints found | false pages | false warnings | precision | median time to detect |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for row in sorted(rows, key=lambda row: (row["rules"] != "these", row["seed"])):
        median = "" if row["median"] is None else f"{row['median']:.0f} min"
        print(
            f"| {row['rules']} | {row['seed']} | {row['found']} of {row['incidents']} | {row['paged']} of {row['urgent']} | {row['complaints']} |"
            f" {row['false_pages']} | {row['false_warnings']} | {row['precision']:.0%} | {median} |"
        )
    ours = [row for row in rows if row["rules"] == "these"]
    total = sum(row["incidents"] for row in ours)
    good = (
        all(row["false_pages"] == 0 for row in ours)
        and sum(row["found"] for row in ours) >= 0.95 * total
        and sum(row["paged"] for row in ours) >= 0.5 * sum(row["urgent"] for row in ours)
        # Of a few incidents the median says nothing.
        and all((row["median"] or 0) <= 15 for row in ours if row["incidents"] >= 10)
    )
    print("\nThe goals are met." if good else "\nThe goals are NOT met.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
