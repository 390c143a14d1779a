"""What every dashboard keeps to, checked while it is made."""

import json
import re

from .panels import Board, Panel, description_of

# More cannot be seen at once.
MOST_OPEN = 12
PERCENT = re.compile(r"Possible(?: of the usual)?: (?:up to )?(-?\d+)?(?: to )?(-?\d+) %\.")


class Broken(Exception):
    """A panel breaks a rule that all keep."""


def _panel(panel: Panel) -> str | None:
    percents = panel.unit == "percentunit" or any(column.unit == "percentunit" for column in panel.columns or [])
    if not panel.description.endswith("."):
        return "its description is no sentence"
    if percents and not PERCENT.search(description_of(panel)):
        return "it shows percentages, and does not say what they can be"
    if panel.unit in ("ops", "reqps", "wps", "cps"):
        return "messages are counted, not measured in operations a second"
    names = [query.name for query in panel.queries]
    if panel.kind in ("line", "bars", "matrix", "states") and not all(names):
        return "a series has no name"
    if panel.kind in ("line", "bars", "gauges") and len(set(names)) < len(names):
        return "two queries give one name"
    if panel.kind == "table":
        sources = [column.source for column in panel.columns or []]
        if not sources:
            return "its columns are not chosen"
        if sum(column.width or 60 for column in panel.columns or []) > panel.width * 66 + 20:
            return "its columns are wider than it is"
        ids = [column for column in panel.columns or [] if column.source.endswith("_id") and column.source in ("message_id",)]
        if any(column.unit not in (None, "string") for column in ids):
            return "an id is no number"
    if panel.kind == "bars" and any("_total" in query.expression and "$__interval_ms" not in query.expression for query in panel.queries):
        return "a bar is not the increase of its own time"
    # Absolute rates are not judged: only shares of the usual, limits of mailbox providers, budgets and states are.
    judged = any(color in ("red", "orange", "yellow", "green") for _, color in panel.steps)
    text = " ".join(query.expression for query in panel.queries)
    if judged and panel.unit == "percentunit" and not re.search("_missing:|_burn|_budget|bounces|complaints|offset 7d", text):
        return "an absolute rate has no good and bad"
    return None


def check(board: Board) -> None:
    """Raises what is broken, with its place."""
    open_panels = [panel for row in board.rows if not row.closed for panel in row.panels]
    if len(open_panels) > MOST_OPEN:
        raise Broken(f"{board.title} has {len(open_panels)} open panels, more than {MOST_OPEN}")
    titles = [panel.title for row in board.rows for panel in row.panels]
    if len(set(titles)) < len(titles):
        raise Broken(f"{board.title} has two panels of one title")
    for row in board.rows:
        for panel in row.panels:
            problem = _panel(panel)
            if problem:
                raise Broken(f"{board.title}, {panel.title}: {problem}")


def check_json(dashboard: dict) -> None:
    """The same of what Grafana reads, whatever made it."""
    panels = [inner for panel in dashboard["panels"] for inner in ([panel] if panel["type"] != "row" else panel.get("panels", []))]
    for panel in panels:
        place = f"{dashboard['title']}, {panel['title']}"
        legend = panel.get("options", {}).get("legend")
        if panel["type"] in ("timeseries", "status-history", "state-timeline") and not (legend or {}).get("showLegend"):
            raise Broken(f"{place}: no legend is shown")
        if panel["type"] in ("status-history", "state-timeline") and not panel.get("maxDataPoints"):
            raise Broken(f"{place}: a matrix without maxDataPoints says 'Too many points'")
        if panel.get("interval") != "1m" or any(target.get("interval") != "1m" for target in panel["targets"]):
            raise Broken(f"{place}: the least interval is not a minute")
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    for place, text in [(panel["title"], json.dumps(panel)) for panel in panels] + [("annotations", json.dumps(dashboard["annotations"]))]:
        unknown = {name for name in re.findall(r"\$\{?([a-z]\w*)", text) if name not in known}
        if unknown:
            raise Broken(f"{dashboard['title']}, {place}: there is no variable {', '.join(unknown)}")
    if not dashboard["annotations"]["list"] or not dashboard["links"]:
        raise Broken(f"{dashboard['title']} has no annotations or no links")
