"""Dashboards that Grafana takes as they are, and on which nothing of the workflow is missing."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
import yaml

from tests.compose.dashboards import BOARDS, EXPRESSIONS, targets
from tests.compose.stack import COMPOSE

REFERENCE = (COMPOSE.parent / "docs" / "reference" / "metrics.md").read_text("utf-8")
LABELS = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(r"^\| `(\w+)` \| \w+ \|([^|]*)\|", REFERENCE, re.MULTILINE)
}
OF_THE_WORKFLOW = ("case", "cases", "order", "revalidation", "revalidations", "storm", "budget", "operator")
OF_THE_WORKFLOW += ("commander", "scheduler", "gpus_held")
METRIC = r"\b(?:gpu_vitals|dcgm|dynamo)_[a-z_]+"

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


@every_board
def test_it_asks_the_data_source_that_is_provisioned(board):
    provisioned = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8"))
    [source] = provisioned["datasources"]
    asked = [each["datasource"] for each in board["panels"] if each["type"] != "row"]
    asked += [each["datasource"] for each in targets(board)]
    assert {(each["type"], each["uid"]) for each in asked} == {(source["type"], source["uid"])}


@every_board
def test_its_panels_have_numbers_of_their_own_and_lie_beside_each_other(board):
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(each["gridPos"], each["title"]) for each in panels]
    for (one, name), (other, other_name) in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (name, other_name)
    assert all(each["x"] + each["w"] <= 24 for each, _ in places)


def test_each_leads_to_the_others():
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        [link] = board["links"]
        assert all(set(link["tags"]) <= set(other["tags"]) for other in BOARDS.values())


def test_all_that_is_measured_of_the_workflow_is_shown():
    """The reference is generated: a metric that comes to it has to come to a panel."""
    shown = {name.removesuffix("_bucket") for each in EXPRESSIONS for name in re.findall(METRIC, each)}
    told = {name for name in LABELS if re.match(f"gpu_vitals_({'|'.join(OF_THE_WORKFLOW)})(_|$)", name)}
    assert len(told) > 20
    assert told - shown == set()


def test_what_the_board_of_evictions_tells_apart_are_labels_that_the_metric_has():
    for target in targets(BOARDS["evictions.json"]):
        known = {"le", "sink"}  # of the buckets; of the target
        for name in re.findall(METRIC, target["expr"]):
            known |= LABELS[name.removesuffix("_bucket")]
        told = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        told |= {each for by in re.findall(r"by \(([^)]+)\)", target["expr"]) for each in by.split(", ")}
        assert told <= known, target
