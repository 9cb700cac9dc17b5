from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.policies import load
from processors.testing import Observations, gpu, judge, ms
from schemas import records
from schemas.records import Reason

H100, CARD = "NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"


def inventory(log: Observations, at_s: float, *models: str) -> Observations:
    listed = [records.GpuInfo(uuid=gpu("n1", at).uuid, bdf=gpu("n1", at).bdf, model=m) for at, m in enumerate(models)]
    return log.report(at_s, records.Inventory(ts=ms(at_s), node="n1", gpus=listed))


def links(log: Observations, at_s: float, *states: str, of: int = 0, model: str = "") -> Observations:
    named = gpu("n1", of)
    told = records.LinkStatus(ts=0, node="n1", uuid=named.uuid, bdf=named.bdf, model=model, links=list(states))
    return log.report(at_s, told)


def told(up: int, down: int = 0, disabled: int = 0, unsupported: int = 0) -> list[str]:
    return [*["up"] * up, *["down"] * down, *["disabled"] * disabled, *["unsupported"] * unsupported]


def seen(log: Observations, of: int = 0, until_s: float = 100.0) -> list[Reason]:
    score = judge(log.tick(until_s)).latest[gpu("n1", of).uuid]
    return [why for why in score.reasons if why.signal == "nvlink_links"]


@pytest.mark.parametrize(
    ("states", "level", "text"),
    [
        (told(18), None, ""),
        (told(17, 1), "warning", "1 NVLink down (warning limit 1)"),
        (told(16, 2), "warning", "2 NVLinks down (warning limit 1)"),
        (told(15, 3), "critical", "3 NVLinks down (critical limit 3)"),
        (told(12, 6), "critical", "6 NVLinks down (critical limit 3)"),
        (told(0, 18), "critical", "18 NVLinks down (critical limit 3)"),
        (told(17, 0, 1), None, ""),  # switched off is no fault
        (told(0, 0, 18), None, ""),
        (told(12, 0, 0, 6), None, ""),
        ([], None, ""),
        (told(16, 1, 1), "warning", "1 NVLink down (warning limit 1)"),
    ],
)
def test_the_links_of_an_h100(states: list[str], level: str | None, text: str) -> None:
    found = seen(links(inventory(Observations(), 1.0, H100), 2.0, *states))
    assert [(why.level, why.text) for why in found] == ([(level, text)] if level else [])


def test_the_model_may_come_with_the_links_alone() -> None:
    """A file of `nvidia-smi nvlink --status` is all that there is of some machines."""
    log = links(Observations(), 2.0, *told(16, 2), model=H100)
    assert [why.value for why in seen(log)] == [2.0]
    assert seen(links(Observations(), 2.0, *told(0, 12), model=CARD)) == []


@pytest.mark.parametrize("model", [CARD, "", "NVIDIA X999"])
def test_where_links_are_optional_those_count_that_have_been_up(model: str) -> None:
    log = links(inventory(Observations(), 1.0, model), 2.0, *told(0, 12))  # no bridge
    assert seen(log) == []
    log = links(inventory(Observations(), 1.0, model), 2.0, *told(12))
    assert [why.value for why in seen(links(log, 3.0, *told(11, 1)))] == [1.0]


def test_an_operator_who_took_the_bridge_away_says_so() -> None:
    log = links(links(inventory(Observations(), 1.0, CARD), 2.0, *told(12)), 3.0, *told(0, 12))
    assert [why.level for why in seen(log)] == ["critical"]
    log.restore("n1", 101.0)
    assert seen(log, until_s=110.0) == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_what_is_told_does_not_matter(order: tuple[int, ...]) -> None:
    """Of two GPUs of a node, each is its own model."""
    log = Observations()
    for at_s, number in enumerate(order, 1):
        if number == 0:
            inventory(log, at_s, H100, CARD)
        else:
            links(log, at_s, *told(0, 18), of=number - 1)
    assert [why.value for why in seen(log, 0)] == [18.0]
    assert seen(log, 1) == []


def test_links_that_come_back_are_whole() -> None:
    log = links(links(inventory(Observations(), 1.0, H100), 2.0, *told(15, 3)), 3.0, *told(18))
    assert seen(log) == []


def test_no_number_of_links_takes_a_gpu_out() -> None:
    log = links(inventory(Observations(), 1.0, H100), 2.0, *told(0, 18))
    assert [score.score for score in judge(log.tick(10.0)).latest.values()] == [0.4]


def test_the_specification_does_not_know_it() -> None:
    log = inventory(Observations().policy(0.0, load("spec")), 1.0, H100)
    assert seen(links(log, 2.0, *told(0, 18))) == []


def test_a_new_policy_judges_what_was_told() -> None:
    log = links(inventory(Observations().policy(0.0, load("spec")), 1.0, H100), 2.0, *told(17, 1))
    assert [why.value for why in seen(log.policy(50.0, load("default")))] in ([1.0], [])
