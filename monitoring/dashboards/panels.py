"""What every dashboard is made of: panels with a sentence each, on Prometheus, in one style."""

import warnings
from collections.abc import Sequence
from typing import Protocol

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

with warnings.catch_warnings():
    # the newer schema cannot be provisioned from files everywhere yet
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders.dashboard import Dashboard

#: uid of the data source that monitoring/grafana/provisioning makes
SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="wanfarm-prometheus")
#: everything of these dashboards is found by it
TAG = "wanfarm"
_HEIGHT, _THIRD, _HALF, _SIXTH = 8, 8, 12, 4

PanelBuilder = cog.Builder[models.Panel]


class _Panel(Protocol):
    def with_target(self, target: prometheus.Dataquery) -> object:
        """Add a query."""


def _queries(panel: _Panel, queries: Sequence[tuple[str, str]]) -> None:
    for n, (expr, legend) in enumerate(queries):
        panel.with_target(prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + n)))


def graph(
    title: str,
    description: str,
    *queries: tuple[str, str],
    unit: str = "short",
    stacked: bool = False,
    wide: bool = False,
) -> PanelBuilder:
    """A graph over time. queries: (expression, legend)."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(_HEIGHT)
        .span(_HALF if wide else _THIRD)
        .min(0)
        .line_width(1.5)
        .fill_opacity(30 if stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    _queries(panel, queries)
    return panel


def number(
    title: str, description: str, expr: str, *, unit: str = "short", warn: float | None = None, bad: float | None = None
) -> PanelBuilder:
    """The newest value, large. From `warn` on it is yellow, from `bad` on red."""
    steps = [models.Threshold(value=None, color="green")]
    steps += [
        models.Threshold(value=at, color=colour) for at, colour in ((warn, "yellow"), (bad, "red")) if at is not None
    ]
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(_SIXTH)
        .span(_SIXTH)
        .thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    _queries(panel, [(expr, "")])
    return panel


def choice(name: str, query: str) -> builders.QueryVariable:
    """A variable whose values Prometheus knows; everything is chosen at first."""
    return (
        builders.QueryVariable(name)
        .label(name)
        .datasource(SOURCE)
        .query(query)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def board(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[PanelBuilder]]],
    variables: Sequence[builders.QueryVariable] = (),
) -> models.Dashboard:
    """A dashboard. rows: (heading, panels). It links to all the others."""
    made = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            builders.DashboardLink("Wanfarm")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
        )
    )
    for variable in variables:
        made.with_variable(variable)
    for heading, panels in rows:
        made.with_row(builders.Row(heading))
        for panel in panels:
            made.with_panel(panel)
    return made.build()
