"""Writes simulated days into a Prometheus's data directory, with all that the rules record and all alerts that fire.

    python -m day --data DIR --rules ../alerts/delivery.rules.yml [--healthy]
"""

import argparse
import pathlib

from . import rules, tsdb, traffic


def main() -> None:
    """Builds the series, then what the rules make of them."""
    parser = argparse.ArgumentParser(prog="day", description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="the data directory to fill")
    parser.add_argument("--rules", type=pathlib.Path, required=True, help="a file of rules")
    parser.add_argument("--healthy", action="store_true", help="leave the incidents out")
    flags = parser.parse_args()
    flags.data.mkdir(parents=True, exist_ok=True)
    tsdb.import_series(flags.data, traffic.build(not flags.healthy))
    rules.record(flags.data, flags.rules)
    print(traffic.END)


if __name__ == "__main__":
    main()
