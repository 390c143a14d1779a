"""The dashboards, made with Grafana's foundation SDK: one module for each, from panels and queries that all share."""

import json
import re

from .. import families
from . import alerts, channels, checks, email, exporter, frame, messages, objectives, overview, panels

# Of Prometheus, of /probe alone, or of no use on a picture.
NOT_SHOWN = ("up", "ALERTS_FOR_STATE", "probe_success", "probe_duration_seconds", "process_start_time_seconds", "process_virtual_memory_bytes")


def selectors(files: dict[str, str]) -> list[dict[str, str]]:
    """Every series that a panel or a variable reads of the exporter, with its place; recorded series are the rules' own."""
    found = []
    for text in files.values():
        made = json.loads(text)
        for panel in made["panels"]:
            for inner in panel.get("panels") or [panel]:
                for target in inner.get("targets", []):
                    place = f"{made['title']}: {inner['title']} {target['refId']}"
                    found += [{"place": place, "selector": selector} for selector in families.selectors(panels.plain(target["expr"])) if not selector.startswith("delivery:")]
        for variable in made["templating"]["list"]:
            if variable["type"] == "query":
                selector = re.match(r"label_values\((.*), \w+\)$", variable["query"])[1]
                found.append({"place": f"{made['title']}: ${variable['name']}", "selector": selector})
    return found


def build(runbook_base: str, alert_names: list[str]) -> dict[str, str]:
    """File names and contents; alerts link to their runbooks below the base."""
    alerts.check_boards(alert_names)
    runbook = alerts.runbook_link(runbook_base)
    boards = [overview.board(runbook), channels.board(), messages.board(), email.board(), objectives.board(), exporter.board()]
    for board in boards:
        checks.check(board)
    files = {f"{board.uid}.json": frame.dashboard_json(board) for board in boards}
    shown = "".join(files.values())
    unseen = [name for name in families.FAMILIES if name not in shown and not re.search(r"_(sum|count|bucket)$", name)]
    unseen = [name for name in unseen if name not in NOT_SHOWN]
    if unseen:
        raise families.Unknown(f"no dashboard shows {', '.join(unseen)}")
    for text in files.values():
        checks.check_json(json.loads(text))
    return files
