"""What all dashboards have: variables that chain, annotations, links to each other."""

import json

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from .. import families
from .panels import DATASOURCE, TAG, Board, add_rows, plain
from .queries import ALERT, ALERT_OF_ACCOUNT

# In time order, which is none of Grafana's sort orders. Change it together with `collection.cohort_ages`.
AGES = ("5m", "15m", "1h", "6h", "24h", "72h")
ALL = models.VariableOption(selected=True, text="All", value="$__all")


def query_variable(name: str, label: str, family: str, matchers: str, wanted: str, every: bool = True, all_value: str | None = None):
    """A label's values. Without a value of its own, "All" is every value that the variables before it leave."""
    for text in (family, f"{family}{{{matchers}}}"):
        known = families.check(plain(text))
    if wanted not in known:
        raise families.Unknown(f"{family} has no label {wanted}")
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(f"label_values({family}{{{matchers}}}, {wanted})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if not every:
        return variable
    variable = variable.include_all(True).multi(True).current(ALL)
    return variable.all_value(all_value) if all_value else variable


def choice(name: str, label: str, values: tuple[str, ...], first: str):
    """One of several values in their order."""
    options = [models.VariableOption(selected=value == first, text=value, value=value) for value in values]
    current = models.VariableOption(selected=True, text=first, value=first)
    return dashboard.CustomVariable(name).label(label).values(",".join(values)).options(options).current(current)


def age_variable(first: str = "5m"):
    """At which age messages are compared."""
    return choice("age", "Age of messages", AGES, first)


def _variables(board: Board) -> list[object]:
    chained = 'job=~"$job",provider=~"$provider"'
    found = [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        query_variable("job", "Job", "delivery_exporter_build_info", "", "job"),
        query_variable("provider", "Provider", "delivery_up", 'job=~"$job"', "provider"),
        query_variable("account", "Account", "delivery_up", chained, "account"),
    ]
    if board.application:
        found.append(query_variable("application", "Application", "delivery_sent_total", f'{chained},account=~"$account"', "application"))
    found += board.variables
    if board.window:
        found.append(choice("window", "Window", ("15m", "1h", "6h", "1d"), "1h"))
    return found


def _annotations(board: Board) -> list[dict]:
    """Alerts that fire, and reloads of the configuration, on every picture."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    alerts = f'max by(alertname, severity, application, account) (ALERTS{{alertstate="firing",severity="page",{ALERT if board.application else ALERT_OF_ACCOUNT}}})'
    reloads = 'max by(instance) (delivery_exporter_config_last_reload_success_timestamp_seconds{job=~"$job"}) * 1000'
    for expression in (alerts, reloads):
        families.check(plain(expression))
    common = {"datasource": source, "enable": True, "hide": False, "step": "60s"}
    return [
        {"name": "Alerts that page", "iconColor": "red", "expr": alerts, "titleFormat": "{{alertname}}", "textFormat": "{{application}} {{account}}", "tagKeys": "severity", **common},
        {"name": "Reloads", "iconColor": "blue", "expr": reloads, "titleFormat": "Configuration loaded", "textFormat": "{{instance}}", "useValueForTime": "on", **common},
    ]


def dashboard_json(board: Board) -> str:
    """The dashboard as Grafana imports it."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .refresh("1m")
        .time(board.since, "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Delivery dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
            .as_dropdown(False)
        )
    )
    for variable in _variables(board):
        built = built.with_variable(variable)
    built = add_rows(built, board.rows)
    text = JSONEncoder(sort_keys=True, indent=2).encode(built.build())
    # Grafana's own types read it, and nothing of it is unknown to them.
    again = models.Dashboard.from_json(json.loads(text))
    if JSONEncoder(sort_keys=True, indent=2).encode(again) != text:
        raise ValueError(f"{board.title} is not as Grafana's schema has it")
    # The schema's annotations lack what the Prometheus data source reads.
    made = json.loads(text)
    made["annotations"] = {"list": _annotations(board)}
    return json.dumps(made, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
