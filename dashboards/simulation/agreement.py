"""Shows that `promql` and promtool fire the same alerts at the same steps of a world.

    python agreement.py                          # a short world of a few applications
    python agreement.py --warm-up 3 --days 2 --all --promtool promtool   # minutes
"""

import argparse
import sys

import evaluate
import world

# One of each kind: with and without a breakdown, a stream, campaigns, once a day, e-mail.
FEW = frozenset({"shop", "games", "mall", "letters"})


def main() -> int:
    """Says where the two differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warm-up", type=float, default=2)
    parser.add_argument("--days", type=float, default=1)
    parser.add_argument("--incidents", type=int, default=6)
    parser.add_argument("--all", action="store_true", help="all applications")
    parser.add_argument("--promtool", default="promtool")
    parser.add_argument("--left-open", action="store_true", help="ranges without their left end, as of Prometheus 3")
    flags = parser.parse_args()
    made = world.World(flags.seed, flags.days, flags.warm_up, flags.incidents, None if flags.all else FEW)
    fast = evaluate.fired(evaluate.at_once(made, flags.seed, flags.left_open), made.first)
    slow = evaluate.by_promtool(made, flags.seed, flags.promtool)
    differ = 0
    for key in sorted(set(fast) | set(slow)):
        ours, theirs = set(fast.get(key, [])), set(slow.get(key, []))
        if ours != theirs:
            differ += 1
            print(f"{dict(key)}: only here {sorted(ours - theirs)[:5]}, only promtool {sorted(theirs - ours)[:5]}", file=sys.stderr)
    steps = sum(len(own) for own in slow.values())
    print(f"{len(slow)} alerts fire over {steps} steps in promtool; {differ} differ")
    # Where nothing fires there is nothing to agree on.
    return 0 if len(slow) >= 5 and not differ else 1


if __name__ == "__main__":
    sys.exit(main())
