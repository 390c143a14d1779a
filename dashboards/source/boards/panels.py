"""Panels and boards as data, and how they become Grafana's JSON."""

import dataclasses
import itertools
import json
import re

from grafana_foundation_sdk.builders import (
    bargauge,
    common as common_builders,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    statushistory,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard as models, prometheus as prometheus_models

from .. import families

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "delivery-exporter"
# Prometheus scrapes the exporter each minute: no step below it says more.
LEAST_STEP = "1m"
# Points across a panel of the whole width: bars and cells that can be told apart.
MOST_POINTS = {"bars": 120, "matrix": 144, "states": 480}

Steps = list[tuple[float | None, str]]
# No judgement: a delivery rate has no value that is good everywhere.
NEUTRAL: Steps = [(None, "text")]
# Against the own past there is one. The steps hold
# against chance with 30 expected deliveries; what is smaller is for the rules to tell.
USUAL: Steps = [(None, "red"), (0.7, "orange"), (0.85, "green")]
# The same kind of failure has the same colour everywhere.
REASONS: dict[str, dict[str, object]] = {
    name: {"color": {"mode": "fixed", "fixedColor": color}}
    for name, color in (("registration", "blue"), ("expired", "yellow"), ("cloud", "purple"), ("hard", "red"), ("soft", "yellow"))
}
ANY_IS_BAD: Steps = [(None, "green"), (1, "red")]


@dataclasses.dataclass
class Query:
    """A query and the name of its series (of its column, in a table)."""

    expression: str
    name: str = ""


@dataclasses.dataclass
class Column:
    """A column of a table: the label or the query's name it shows, its header, and how."""

    source: str
    header: str
    width: int | None = None
    unit: str | None = None
    decimals: int | None = None
    # A bar from 0 to 1, or a coloured cell.
    gauge: bool = False
    colored: bool = False
    steps: Steps | None = None
    words: dict[str, tuple[str, str | None]] | None = None
    link: tuple[str, str] | None = None
    left: bool = False


@dataclasses.dataclass
class Panel:
    """A panel: what it shows, in which unit, and what its numbers can be."""

    kind: str
    title: str
    description: str
    queries: list[Query]
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Steps = dataclasses.field(default_factory=lambda: NEUTRAL)
    # What values mean, in words.
    words: dict[str, tuple[str, str]] | None = None
    # The least and the most that a percentage can be; in a percentage panel, said in its description.
    bounds: tuple[int, int] | None = None
    decimals: int | None = None
    stacked: bool = True
    # Where the axis ends at least.
    soft_max: float | None = None
    # Without it the axis begins below the lowest value, to show small changes.
    from_zero: bool = True
    limits: bool = False
    empty: str | None = None
    columns: list[Column] | None = None
    sort: list[tuple[str, bool]] | None = None
    legend_right: bool = False
    sparkline: bool = False
    name_shown: bool = False
    # Settings of single series: name and properties.
    overrides: dict[str, dict[str, object]] | None = None
    # A place within the row, where the flow from left to right is not meant.
    at: tuple[int, int] | None = None


@dataclasses.dataclass
class Row:
    """Panels under a title; what one vendor alone fills is closed at first."""

    title: str
    panels: list[Panel]
    closed: bool = False


@dataclasses.dataclass
class Board:
    """A dashboard."""

    uid: str
    title: str
    description: str
    rows: list[Row]
    variables: list[object] = dataclasses.field(default_factory=list)
    window: bool = True
    application: bool = True
    since: str = "now-24h"


def plain(expression: str) -> str:
    """A query without Grafana's variables, to be parsed."""
    expression = re.sub(r"\[\$\w+\]", "[5m]", expression)
    expression = re.sub(r"offset \$\w+", "offset 5m", expression)
    return re.sub(r"\$__interval_ms", "1", expression)


def thresholds(steps: Steps):
    """Steps as Grafana has them."""
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(
        [models.Threshold(value=value, color=color) for value, color in steps]
    )


def mappings(words: dict[str, tuple[str, str | None]]) -> list[models.ValueMapping]:
    """Words for values; the key "" is what an empty cell says."""
    named = {key: models.ValueMappingResult(text=text, color=color, index=index) for index, (key, (text, color)) in enumerate(words.items()) if key}
    found: list[models.ValueMapping] = [models.ValueMap(options=named)] if named else []
    if "" in words:
        result = models.ValueMappingResult(text=words[""][0], index=len(named))
        found.append(models.SpecialValueMap(options=models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.EMPTY, result=result)))
    return found


def _json(value) -> object:
    return json.loads(JSONEncoder().encode(value))


def _properties(column: Column) -> list[models.DynamicConfigValue]:
    # What an empty table says is not what an empty cell says.
    found: dict[str, object] = {"noValue": "–"}
    if column.width:
        found["custom.width"] = column.width
    if column.left:
        found["custom.align"] = "left"
    if column.unit:
        found["unit"] = column.unit
    if column.decimals is not None:
        found["decimals"] = column.decimals
    if column.gauge:
        found |= {"custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}, "min": 0, "max": 1}
    if column.colored:
        found["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    if column.steps:
        found["thresholds"] = {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in column.steps]}
        found["color"] = {"mode": "thresholds"}
        if not column.gauge and not column.colored:
            found["custom.cellOptions"] = {"type": "color-text"}
    elif column.gauge:
        found["color"] = {"mode": "fixed", "fixedColor": "blue"}
    if column.words:
        found["mappings"] = _json(mappings(column.words))
    if column.link:
        title, url = column.link
        found["links"] = [{"title": title, "url": url, "targetBlank": url.startswith("http")}]
    return [models.DynamicConfigValue(id_val=key, value=value) for key, value in found.items()]


_BUILDERS = {
    "line": timeseries.Panel, "bars": timeseries.Panel, "stat": stat.Panel, "table": table.Panel,
    "gauges": bargauge.Panel, "matrix": statushistory.Panel, "states": statetimeline.Panel,
}
_INSTANT = ("table", "gauges")


def description_of(panel: Panel) -> str:
    """What the panel says of itself, with the bounds that a percentage can have."""
    if panel.bounds is None:
        return panel.description
    least, most = panel.bounds
    return f"{panel.description} Possible: {least} to {most} %."


def _legend(panel: Panel):
    legend = common_builders.VizLegendOptions().show_legend(True)
    if panel.legend_right:
        return legend.display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.RIGHT).calcs([])
    return legend.display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM).calcs([])


def _series(built, panel: Panel):
    """Lines and bars."""
    built = (
        built.legend(_legend(panel))
        .show_points(common.VisibilityMode.NEVER if panel.kind == "bars" else common.VisibilityMode.AUTO)
        .span_nulls(False)
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    )
    if panel.kind == "bars":
        built = built.draw_style(common.GraphDrawStyle.BARS).fill_opacity(80).line_width(0).bar_width_factor(0.9)
        if panel.stacked:
            built = built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    else:
        built = built.line_width(1).fill_opacity(0).point_size(4)
    if panel.from_zero:
        built = built.min(0)
    if panel.limits:
        built = built.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED))
    if panel.soft_max is not None:
        built = built.axis_soft_max(panel.soft_max)
    return built


def _table(built, panel: Panel):
    """Columns in their order; everything else is left out."""
    columns = panel.columns or []
    order = {column.source: index for index, column in enumerate(columns)}
    value_names = {f"Value #{chr(ord('A') + index)}" if len(panel.queries) > 1 else "Value": query.name for index, query in enumerate(panel.queries)}
    renamed = {column.source: column.header for column in columns}
    # A query's value goes by the name of the query.
    names = {field: name for field, name in value_names.items() if name}
    back = {name: field for field, name in names.items()}
    index = {back.get(source, source): place for source, place in order.items()}
    rename = {back.get(source, source): header for source, header in renamed.items()}
    keep = {"include": {"names": list(index)}}
    built = built.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    built = built.with_transformation(models.DataTransformerConfig(id_val="filterFieldsByName", options=keep))
    if panel.sort:
        # A sort by more than one field: the last one first, as each keeps the order of the one before.
        for header, descending in reversed(panel.sort[1:]):
            source = next(field for field, name in rename.items() if name == header)
            built = built.with_transformation(models.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": source, "desc": descending}]}))
    built = built.with_transformation(models.DataTransformerConfig(id_val="organize", options={"excludeByName": {}, "indexByName": index, "renameByName": rename}))
    for column in columns:
        built = built.override_by_name(column.header, _properties(column))
    built = built.mappings(mappings({"": ("–", None)})).cell_height(common.TableCellHeight.SM)
    if panel.sort:
        header, descending = panel.sort[0]
        built = built.sort_by([common_builders.TableSortByFieldState().display_name(header).desc(descending)])
    return built


def _query(panel: Panel, query: Query, index: int):
    families.check(plain(query.expression))
    built = (
        prometheus.Dataquery()
        .datasource(DATASOURCE)
        .expr(query.expression)
        .legend_format(query.name or "__auto")
        .interval(LEAST_STEP)
        .ref_id(chr(ord("A") + index))
    )
    instant = panel.kind in _INSTANT or (panel.kind == "stat" and not panel.sparkline)
    built = built.instant() if instant else built.range()
    return built.format(prometheus_models.PromQueryFormat.TABLE) if panel.kind == "table" else built


def build_panel(panel: Panel, number: int, x: int, y: int):
    """A panel at its place."""
    built = (
        _BUILDERS[panel.kind]()
        .id(number)
        .title(panel.title)
        .description(description_of(panel))
        .datasource(DATASOURCE)
        .thresholds(thresholds(panel.steps))
        .interval(LEAST_STEP)
        .grid_pos(models.GridPos(x=x, y=y, w=panel.width, h=panel.height))
    )
    # In a table a unit would also format the text of labels: an id of digits would become a number.
    if panel.kind != "table":
        built = built.unit(panel.unit)
    if panel.decimals is not None:
        built = built.decimals(panel.decimals)
    if panel.kind in MOST_POINTS:
        built = built.max_data_points(MOST_POINTS[panel.kind] * panel.width // 24)
    if panel.kind in ("stat", "matrix", "states"):
        built = built.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    if panel.words:
        built = built.mappings(mappings(panel.words))
    if panel.kind in ("line", "bars"):
        built = _series(built, panel)
    elif panel.kind == "stat":
        if panel.sparkline and panel.steps == NEUTRAL:
            built = built.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color("blue"))
        built = built.graph_mode(common.BigValueGraphMode.AREA if panel.sparkline else common.BigValueGraphMode.NONE)
        built = built.text_mode(common.BigValueTextMode.VALUE_AND_NAME if panel.name_shown else common.BigValueTextMode.VALUE)
        built = built.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    elif panel.kind == "matrix":
        built = built.show_value(common.VisibilityMode.NEVER).row_height(0.9).col_width(0.95).legend(_legend(panel))
    elif panel.kind == "states":
        built = built.show_value(common.VisibilityMode.AUTO).merge_values(True).row_height(0.8).legend(_legend(panel))
    elif panel.kind == "gauges":
        built = built.display_mode(common.BarGaugeDisplayMode.BASIC).orientation(common.VizOrientation.HORIZONTAL).show_unfilled(True)
        built = built.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color("blue")).min(0)
        built = built.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    elif panel.kind == "table":
        built = _table(built, panel)
    empty = panel.empty
    if empty is None and any(re.search(r"\)\)? >= \d", query.expression) for query in panel.queries):
        empty = "Too few sends for a rate."
    if empty:
        built = built.no_value(empty)
    for name, properties in (panel.overrides or {}).items():
        built = built.override_by_name(name, [models.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()])
    for index, query in enumerate(panel.queries):
        built = built.with_target(_query(panel, query, index))
    return built


def flow(panels: list[Panel], top: int) -> tuple[list[tuple[Panel, int, int]], int]:
    """Places from left to right, and where the next row begins."""
    placed, x, y, tallest, bottom = [], 0, top, 0, top
    for panel in panels:
        if panel.at is not None:
            placed.append((panel, panel.at[0], top + panel.at[1]))
            bottom = max(bottom, top + panel.at[1] + panel.height)
            x, y, tallest = 0, bottom, 0
            continue
        if x + panel.width > 24:
            x, y, tallest = 0, y + tallest, 0
        placed.append((panel, x, y))
        x, tallest = x + panel.width, max(tallest, panel.height)
        bottom = max(bottom, y + tallest)
    return placed, bottom


def add_rows(built, rows: list[Row]):
    """Rows one below the other."""
    numbers = itertools.count(1)
    y = 0
    for row in rows:
        title = dashboard.Row(row.title).id(next(numbers)).grid_pos(models.GridPos(x=0, y=y, w=24, h=1))
        placed, bottom = flow(row.panels, y + 1)
        panels = [build_panel(panel, next(numbers), px, py) for panel, px, py in placed]
        if row.closed:
            for panel in panels:
                title = title.with_panel(panel)
            built = built.with_row(title)
            y += 1
        else:
            built = built.with_row(title)
            for panel in panels:
                built = built.with_panel(panel)
            y = bottom
    return built
