from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policies import load
from processors.kit import check_signal
from processors.signals.dcgm_health import DcgmHealth
from processors.testing import Observations, Said, gpu, judge
from schemas import records
from schemas.fields import GPU_TEMP
from schemas.states import Action

GPU = gpu("n1")


def incident(code: int, health: str = "fail", system: str = "memory", **more: Any) -> records.HealthIncident:
    return records.HealthIncident(
        ts=0, node="n1", uuid=GPU.uuid, bdf=GPU.bdf, system=system, health=health, code=code, **more
    )


def told(*incidents: records.HealthIncident, log: Observations | None = None) -> Observations:
    """A GPU in good health, and then these, one a second."""
    log = (log or Observations()).frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    for at, each in enumerate(incidents):
        log.report(7.0 + at, each)
    return log


def found(said: Said) -> tuple[float, Action, bool, list[str]]:
    change = said.conditions[-1]
    texts = [why.text for why in change.reasons if why.signal == "dcgm_health"]
    return change.score, change.action, change.corruption, texts


def test_it_keeps_the_contract_of_signals() -> None:
    check_signal(DcgmHealth)


EVICT, REPLACE, MONITOR, NONE = Action.EVICT, Action.EVICT_PERMANENTLY, Action.MONITOR, Action.NONE


@pytest.mark.parametrize(
    ("code", "system", "health", "expected"),
    [
        (3, "pcie", "warn", (0.7, MONITOR, False, ["DCGM health: too many PCIe replays a minute"])),
        (4, "memory", "fail", (0.0, EVICT, True, ["DCGM health: uncorrectable memory error"])),
        (4, "memory", "warn", (0.0, EVICT, True, ["DCGM health: uncorrectable memory error"])),
        (6, "memory", "warn", (0.7, MONITOR, False, ["DCGM health: a page waits for retirement: reset the GPU"])),
        (7, "memory", "fail", (0.0, REPLACE, False, ["DCGM health: as many memory pages retired as there may be"])),
        (7, "memory", "warn", (0.7, MONITOR, False, ["DCGM health: as many memory pages retired as there may be"])),
        (80, "memory", "fail", (0.0, REPLACE, False, ["DCGM health: row remapping failed"])),
        (70, "nvlink", "fail", (0.0, EVICT, False, ["DCGM health: more than 100 NVLink CRC errors a second"])),
        (71, "nvlink", "fail", (0.7, MONITOR, False, ["DCGM health: NVLink replays or recoveries"])),
        (
            9,
            "inforom",
            "warn",
            (0.7, MONITOR, False, ["DCGM health: the InfoROM, where the GPU keeps its history, is corrupt"]),
        ),
        (125, "driver", "fail", (0.0, EVICT, False, ["DCGM health: DCGM finding 125"])),  # not published: DCGM's word
        (127, "driver", "warn", (0.7, MONITOR, False, ["DCGM health: DCGM finding 127"])),
        (11, "power", "warn", (1.0, NONE, False, [])),  # nothing about the GPU
        (101, "memory", "warn", (1.0, NONE, False, [])),  # an Xid
        (101, "all", "fail", (1.0, NONE, False, [])),
        (81, "all", "fail", (1.0, NONE, False, [])),
        (4, "all", "fail", (1.0, NONE, False, [])),
        (4, "memory", "pass", (1.0, NONE, False, [])),
    ],
)
def test_an_incident_is_judged_by_its_number(code: int, system: str, health: str, expected: Any) -> None:
    assert found(judge(told(incident(code, health, system, message="GPU 864003248 had nothing")))) == expected


def test_an_incident_ends_when_dcgm_says_so() -> None:
    log = told(incident(3, "warn", "pcie"), incident(3, "pass", "pcie"))
    assert found(judge(log))[0] == 1.0


def test_what_is_over_is_told_by_watch_and_number() -> None:
    log = told(incident(3, "warn", "pcie"), incident(3, "pass", "nvlink"), incident(6, "pass", "pcie"))
    assert found(judge(log))[0] == 0.7


def test_the_gravest_that_stands_counts() -> None:
    log = told(incident(3, "warn", "pcie"), incident(80), incident(6, "warn"), incident(80, "pass"))
    assert [found(judge(told(*[incident(3, "warn", "pcie"), incident(80)])))[0], found(judge(log))[0]] == [0.0, 0.7]


def test_of_many_the_gravest_are_kept() -> None:
    mild = [incident(code, "warn", "thermal") for code in (10, 40, 41, 42, 43, 12)]
    assert found(judge(told(incident(80), *mild)))[1] is REPLACE
    assert found(judge(told(*mild, incident(80))))[1] is REPLACE


def test_corrupt_data_stays_until_an_operator_has_looked() -> None:
    """A driver reload ends DCGM's incident and repairs no output."""
    log = told(incident(4), incident(4, "pass"))
    assert found(judge(log))[:3] == (0.0, EVICT, True)
    assert found(judge(log.restore("n1", 20.0)))[0] == 1.0


def test_incidents_of_mig_instances_do_not_condemn_the_gpu() -> None:
    assert found(judge(told(incident(4, gi=1))))[0] == 1.0


def test_the_specification_shows_it_without_effect() -> None:
    score, action, corruption, texts = found(judge(told(incident(80), log=Observations().policy(0.0, load("spec")))))
    assert (score, action, corruption) == (1.0, NONE, False)
    assert texts == ["DCGM health: row remapping failed"]


incidents = st.builds(
    incident,
    st.sampled_from([3, 4, 7, 11, 70, 80, 101, 200]),
    st.sampled_from(["warn", "fail"]),
    st.sampled_from(["pcie", "memory", "all", "0x2000", "strange"]),
)


@given(st.lists(incidents, max_size=8, unique_by=lambda each: (each.code, each.system)))
def test_the_cap_never_rises_but_by_an_end(several: list[records.HealthIncident]) -> None:
    scores = [change.score for change in judge(told(*several)).conditions]
    assert scores == sorted(scores, reverse=True)
