"""Runs the rules over simulated days and reports what they found, beside the naive rule.

    python run.py --days 14 --seeds 101-120

The generator draws applications and incidents from the seed. `docs/alerting.md` says on which seeds the rules were tuned.
"""

import argparse
import collections
import concurrent.futures
import statistics
import sys

import evaluate
import incidents
import world
from applications import DAY, HOUR

MINUTES = evaluate.MINUTES
# An incident may still be told of so long after its end: the rules' windows and what they keep.
AFTER = {"page": 2 * HOUR, "warning": 8 * HOUR}
# Those that look at a day.
AFTER_A_DAY = {"DeliveryHardBounces": 26 * HOUR, "DeliveryComplaints": 34 * HOUR}
# Numbers of a day come the morning after it, and stay in a window of a day.
AFTER_THE_MORNING = 34 * HOUR


def episodes(steps: list[int]) -> list[tuple[int, int]]:
    """Firing that goes on, with gaps of at most half an hour."""
    found: list[tuple[int, int]] = []
    for step in sorted(steps):
        if found and step - found[-1][1] <= 30 // MINUTES:
            found[-1] = (found[-1][0], step)
        else:
            found.append((step, step))
    return found


def concerns(labels: dict[str, str], own: incidents.Incident) -> bool:
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


# A decay takes a day to be seen, the others are the customer's side or yesterday's.
NEVER_URGENT = ("decay", "slow_decay", "uninstalls", "expiry", "daily_late", "daily_low")


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
                if concerns(labels, own) and begin < own.end + after + (AFTER_THE_MORNING if own.kind.startswith("daily") else 0)
                and end >= own.begin
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
        if own.visible is not None and own.share >= incidents.VISIBLE and own.volume >= 400
    ]
    # They take far less of the traffic, and are told of for its reputation.
    complaints = [index for index, own in enumerate(made.incidents) if own.kind == "complaints"]
    urgent = [
        index for index in counted
        if made.incidents[index].share >= 0.25 and made.incidents[index].kind not in NEVER_URGENT
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
            "delays": own["delays"],
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
    seed, days, warm_up, count, verbose = arguments
    made = world.World(seed, days, warm_up, count)
    return report(seed, made, evaluate.fired(evaluate.at_once(made, seed), made.first), verbose)


def numbers(text: str) -> list[int]:
    """Such as 1,2,5-8."""
    found = []
    for own in text.split(","):
        low, _, high = own.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def main() -> int:
    """Runs the seeds and checks the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--warm-up", type=float, default=8, help="days without incidents before them")
    parser.add_argument("--incidents", type=int, default=30)
    parser.add_argument("--seeds", default="101-120")
    parser.add_argument("--verbose", action="store_true")
    flags = parser.parse_args()
    jobs = [
        (seed, flags.days, flags.warm_up, flags.incidents, flags.verbose) for seed in numbers(flags.seeds)
    ]
    rows = []
    with concurrent.futures.ProcessPoolExecutor(max_workers=2) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, job) for job in jobs]):
            own, said = done.result()
            rows += own
            print("\n".join([f"seed {own[0]['seed']}:", *said]), file=sys.stderr, flush=True)
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
    weeks = flags.days / 7 * len(ours)
    median = statistics.median([delay for row in ours for delay in row["delays"]] or [0])
    found = sum(row["found"] for row in ours)
    print(
        f"\n{len(ours)} seeds: {found} of {total} found ({found / max(1, total):.1%}), {sum(row['false_pages'] for row in ours)} false pages,"
        f" {sum(row['false_warnings'] for row in ours) / weeks:.2f} false warnings a week, median {median:.0f} minutes"
    )
    good = (
        all(row["false_pages"] == 0 for row in ours)
        # One a week; of a few days no more than one.
        and sum(row["false_warnings"] for row in ours) <= max(1, weeks)
        and sum(row["found"] for row in ours) >= 0.95 * total
        and sum(row["paged"] for row in ours) >= 0.5 * sum(row["urgent"] for row in ours)
        and median <= 15
    )
    print("\nThe goals are met." if good else "\nThe goals are NOT met.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
