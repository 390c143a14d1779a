"""Building rules: durations are scaled, and queries are checked against the families."""

import dataclasses
import re

from . import families

# The base of runbook links: the exporter serves the runbooks. `--runbook-base` sets another base.
RUNBOOK_BASE = "http://localhost:9847/runbooks"
# Labels of a replica: a takeover moves an account's series to another replica.
REPLICA = "instance, pod"
# The labels of a part besides those of its application.
PARTS = "platform, vendor_channel"

# Ages that are early enough to wake somebody for; the later ones are the net for throttled sends.
EARLY = 'age=~"first|[0-9]+[sm]|1h"'
LATE = 'age!~"first|[0-9]+[sm]|1h"'

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclasses.dataclass
class Scale:
    """Durations, unchanged or all divided by one factor for tests."""

    factor: int = 1

    def text(self, duration: str) -> str:
        """A duration of the rules, such as 1h."""
        if self.factor == 1:
            return duration
        seconds = int(duration[:-1]) * _UNITS[duration[-1]]
        return f"{seconds * 1000 // self.factor}ms"

    def expression(self, text: str) -> str:
        """A query, whose durations are written as [1h] and offset 1d."""
        text = re.sub(r"\[(\d+[smhdw])\]", lambda m: f"[{self.text(m[1])}]", text)
        return re.sub(r"offset (\d+[smhdw])", lambda m: f"offset {self.text(m[1])}", text)


def wilson_lower(part: str, whole: str, z: float) -> str:
    """The lower bound of Wilson's interval of part / whole at z standard deviations; no result without volume."""
    share = f"(({part}) / ({whole} > 0))"
    n = f"({whole})"
    squared = z * z
    return (
        f"(({share} + {squared / 2:g} / {n}"
        f" - {z:g} * sqrt(clamp_min({share} * (1 - {share}), 0) / {n} + {squared / 4:g} / {n} ^ 2))"
        f" / (1 + {squared:g} / {n}))"
    )


def runbook_url(base: str, alert: str) -> str:
    """The address of an alert's runbook; the name is appended to a base without {alert}."""
    return base.replace("{alert}", alert) if "{alert}" in base else f"{base.rstrip('/')}/{alert}"


class Rules:
    """Builds the groups of rules."""

    def __init__(self, scale: Scale, runbook_base: str = RUNBOOK_BASE):
        self.scale = scale
        self.runbook_base = runbook_base
        self.groups: list[dict] = []

    def group(self, name: str, interval: str) -> None:
        """Starts a group, whose rules are evaluated together."""
        self.groups.append({"name": name, "interval": self.scale.text(interval), "rules": []})

    def record(self, name: str, expression: str, more: dict[str, str] | None = None) -> None:
        """Adds a recording rule, with additional labels."""
        labels = families.check(expression) | set(more or {})
        families.RECORDED[name] = labels | families.RECORDED.get(name, set())
        rule = {"record": name, "expr": self.scale.expression(_tidy(expression))}
        if more:
            rule["labels"] = more
        self.groups[-1]["rules"].append(rule)

    def alert(
        self,
        name: str,
        expression: str,
        severity: str,
        summary: str,
        description: str,
        wait: str | None = None,
        keep: str | None = None,
    ) -> None:
        """Adds an alert; `wait` is its `for`."""
        families.check(expression)
        rule = {"alert": name, "expr": self.scale.expression(_tidy(expression))}
        if wait:
            rule["for"] = self.scale.text(wait)
        if keep:
            rule["keep_firing_for"] = self.scale.text(keep)
        rule["labels"] = {"severity": severity}
        rule["annotations"] = {
            "summary": summary,
            "description": _tidy(description),
            "runbook_url": runbook_url(self.runbook_base, name),
        }
        self.groups[-1]["rules"].append(rule)


def _tidy(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(lines) if "\n" in text.strip() else lines[0]
