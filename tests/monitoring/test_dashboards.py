"""The dashboards' files are what the code makes, and ask for metrics that there are."""

import json
import re
from pathlib import Path

import yaml

from monitoring import farm_metrics, gpu_metrics
from monitoring import metrics as process_metrics
from monitoring.dashboards.generated import FOLDER, files
from monitoring.read_metrics import ReadMetric

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "monitoring" / "prometheus"


def queries() -> dict[str, str]:
    """ "board / panel / query" -> expression."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                found[f"{path.stem} / {panel['title']} / {target['refId']}"] = target["expr"]
    return found


def known() -> set[str]:
    """Names that a query may use: of samples, and of recording rules."""
    names = set()
    for module in (farm_metrics, gpu_metrics):
        for one in vars(module).values():
            if isinstance(one, ReadMetric):
                names.add(f"{one.name}_total" if one.counter else one.name)
    for one in vars(process_metrics).values():
        if name := getattr(one, "name", None):
            names |= {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count"))}
    groups = yaml.safe_load((PROMETHEUS / "recording.yml").read_text())["groups"]
    return names | {rule["record"] for group in groups for rule in group["rules"]}


def used(expr: str) -> set[str]:
    return set(re.findall(r"(?:[a-z_]+:)?wanfarm_[a-z0-9_]+(?::[a-z0-9_]+)?", re.sub(r'"[^"]*"', "", expr)))


def test_the_files_are_current() -> None:
    """Else: python -m monitoring.dashboards."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == files()


def test_every_query_asks_for_metrics_that_there_are() -> None:
    asked, names = queries(), known()
    assert len(asked) > 60
    assert {where: used(expr) - names for where, expr in asked.items() if used(expr) - names} == {}
    assert [where for where, expr in asked.items() if not used(expr)] == []
    for file in ("recording.yml", "alerts.yml"):
        groups = yaml.safe_load((PROMETHEUS / file).read_text())["groups"]
        for rule in (rule for group in groups for rule in group["rules"]):
            assert used(rule["expr"]) <= names, rule


def test_every_metric_of_the_whole_farm_is_on_a_dashboard() -> None:
    """What nobody looks at need not be read."""
    shown = {name for expr in queries().values() for name in used(expr)}
    rules = "".join((PROMETHEUS / file).read_text() for file in ("recording.yml", "alerts.yml"))
    farm_wide = {
        f"{one.name}_total" if one.counter else one.name
        for one in vars(farm_metrics).values()
        if isinstance(one, ReadMetric)
    }
    assert farm_wide - shown - used(rules) == set()


def test_every_panel_says_what_it_shows() -> None:
    for path in FOLDER.glob("*.json"):
        board = json.loads(path.read_text())
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert [panel["title"] for panel in panels if not panel.get("description")] == []
        assert len({panel["title"] for panel in panels}) == len(panels), path.name
        assert board["schemaVersion"] >= 36
        # no two panels lie on each other
        places = [panel["gridPos"] for panel in board["panels"]]
        cells = [
            (x, y)
            for at in places
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(cells) == len(set(cells)), path.name
