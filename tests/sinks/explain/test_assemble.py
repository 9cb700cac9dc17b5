"""What is put together about one GPU, from records as the stages write them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas import records
from schemas.log import Record
from schemas.records import Gpu, GpuInfo, Reason
from schemas.states import Action, CaseState, Condition, Step
from sinks.explain import text
from sinks.explain.assemble import Assembler
from sinks.explain.model import Explanation
from sinks.explain.names import Known

T0 = 1_767_225_600_000
GPU = Known("GPU-1", "n1", "GPU-1", "0000:01:00")
POLICY = {
    "node": {"improve_after_s": 300.0},
    "signals": {
        "clocks": {
            "enabled": True,
            "limits": {"warning": 10.0, "critical": 50.0, "evict": None, "inclusive": False, "falling": False},
            "caps": {"warning": 0.7, "critical": 0.4, "evict": 0.2},
            "judge_by": "event_reasons",
        }
    },
}
SLOW = Reason(
    signal="clocks", level="critical", cap=0.4, quantity="slow_percent", value=61.0, unit="%", limit=50.0, since=T0,
    text="clocks: 61 % slow (critical limit 50)",
)  # fmt: skip


class Told:
    def __init__(self, gpu: Known = GPU) -> None:
        self.assembler = Assembler(gpu)
        self._offset = 0

    def say(self, topic: str, value: Any, ms: int = T0, key: str = "GPU-1") -> None:
        data = b"" if value is None else msgspec.json.encode(value)
        self.assembler.take(topic, Record(self._offset, ms, key, topic, data))
        self._offset += 1

    def score(self, ms: int, condition: Condition, score: float, *reasons: Reason, held: float | None = None) -> None:
        said = records.Score(
            ts=ms, cluster="c", node="n1", uuid="GPU-1", bdf="0000:01:00", score=score,
            held=score if held is None else held, condition=condition, reasons=list(reasons),
        )  # fmt: skip
        self.say("scores", said, ms)

    def decision(self, ms: int, weight: float, *reasons: Reason, **others: Any) -> None:
        told: dict[str, Any] = {"state": CaseState.IN_SERVICE, "condition": Condition.HEALTHY, "score": weight}
        said = records.Decision(
            ts=ms, cluster="c", node="n1", uuid="GPU-1", weight=weight, reasons=list(reasons), policy="mine@1",
            **(told | others),
        )  # fmt: skip
        self.say("decisions", said, ms)

    def xid(self, ms: int, code: int, uuid: str = "GPU-1", bdf: str = "", repeat: bool = False) -> None:
        said = records.Xid(
            ts=ms, cluster="c", node="n1", uuid=uuid, bdf=bdf, fault="xid", code=code, severity="critical",
            response="evict", meaning=f"meaning of {code}", repeat=repeat,
        )  # fmt: skip
        self.say("xids", said, ms, "n1")

    def explanation(self, policy: dict[str, Any] | None = POLICY) -> Explanation:
        return self.assembler.explanation("a test", policy, None, [])


@pytest.mark.parametrize(
    ("weight", "others", "expected"),
    [
        (1.0, {}, "weight 1: no signal finds anything wrong"),
        (0.4, {"reasons": [SLOW]}, "weight 0.4: it counts as 0.4: clocks: 61 % slow (critical limit 50)"),
        (
            0.0,
            {"state": CaseState.DRAINING, "cause": "Xid 48: double-bit ECC error"},
            "weight 0: its case is draining: Xid 48: double-bit ECC error",
        ),
        (
            0.7,
            {"held_by": "budget", "action": Action.EVICT, "reasons": [SLOW]},
            "weight 0.7: it would be taken out (evict), which is held back by budget: clocks: 61 % slow "
            "(critical limit 50)",
        ),
        (
            1.0,
            {"condition": Condition.UNKNOWN},
            "weight 1: nobody can tell how it is, and the last known weight stays",
        ),
    ],
)
def test_the_weight_is_explained_in_a_sentence(weight: float, others: dict[str, Any], expected: str) -> None:
    told = Told()
    told.decision(T0, weight, *others.pop("reasons", ()), **others)
    assert told.explanation().because == expected


def test_a_case_that_outlasts_its_cause_says_so() -> None:
    told = Told()
    told.decision(T0, 0.0, state=CaseState.DRAINED, cause="heat")
    told.score(T0, Condition.HEALTHY, 1.0)
    because = told.explanation().because
    assert because == "weight 0: its case is drained: heat; its score is 1 by now, but the case is still open"


def test_a_gpu_that_nothing_is_decided_about_has_no_weight() -> None:
    assert Told().explanation().because == "nothing is decided about this GPU: schedulers know no weight of it"


def test_the_cap_that_decides_and_the_steps_of_the_policy() -> None:
    told = Told()
    warm = Reason(signal="temperature", level="warning", cap=0.7, text="80 C", since=T0)
    told.score(T0, Condition.DEGRADED, 0.4, SLOW, warm)
    score = told.explanation().score
    assert score is not None
    first, second = score.findings
    assert (first.decides, second.decides) == (True, False)
    assert (first.value, first.unit, first.limit, first.since) == (61.0, "%", 50.0, T0)
    assert (first.limits, first.caps) == (
        {"warning": 10.0, "critical": 50.0},
        {"warning": 0.7, "critical": 0.4, "evict": 0.2},
    )
    assert (first.passes, first.settings) == (">", {"judge_by": "event_reasons"})


def test_without_the_policys_text_that_is_said() -> None:
    told = Told()
    told.decision(T0, 0.4, SLOW)
    told.score(T0, Condition.DEGRADED, 0.4, SLOW)
    explanation = told.explanation(None)
    assert explanation.score is not None
    assert explanation.score.findings[0].limits == {}
    assert explanation.not_kept == ["policy mine@1: its text, and so the limits that were not passed"]


def test_a_recovery_that_has_not_lasted_says_until_when() -> None:
    told = Told()
    better = Reason(signal="recovering", level="warning", cap=0.4, since=T0, text="better, but not yet")
    told.score(T0, Condition.DEGRADED, 1.0, better, held=0.4)
    score = told.explanation().score
    assert score is not None
    assert score.hysteresis is not None
    assert (score.hysteresis.since, score.hysteresis.counts_as, score.hysteresis.until) == (T0, 0.4, T0 + 300_000)
    assert score.findings == []
    shown = text.render(told.explanation())
    assert "better since 2026-01-01 00:00:00: counts as 0.4 until 2026-01-01 00:05:00" in shown


def test_the_weight_is_as_old_as_its_last_change() -> None:
    told = Told()
    told.decision(T0, 1.0)
    told.decision(T0 + 1000, 0.4, SLOW)
    told.decision(T0 + 2000, 0.4, SLOW, action=Action.MONITOR)
    decision = told.explanation().decision
    assert decision is not None
    assert (decision.ts, decision.since) == (T0 + 2000, T0 + 1000)


def test_xids_of_this_gpu_with_what_the_catalogue_says() -> None:
    told = Told()
    told.xid(T0, 48)
    for number in range(5):
        told.xid(T0 + number, 31, uuid="", bdf="0000:01:00", repeat=number > 0)
    told.xid(T0, 79, uuid="GPU-2")
    told.xid(T0, 79, uuid="", bdf="0000:02:00")
    xids = {xid.code: xid for xid in told.explanation().xids}
    assert list(xids) == [31, 48]
    assert (xids[31].lines, xids[31].first, xids[31].last, xids[31].application) == (5, T0, T0 + 4, True)
    assert (xids[48].mnemonic, xids[48].application) == ("ROBUST_CHANNEL_GPU_ECC_DBE", False)
    assert [change.text for change in told.explanation().timeline if change.topic == "xids"] == [
        "Xid 31: meaning of 31, response evict",
        "Xid 48: meaning of 48, response evict",
    ]


def test_who_it_is_comes_from_the_inventory_of_its_node() -> None:
    told = Told()
    gpus = [GpuInfo(uuid="GPU-1", bdf="0000:01:00", model="H100", serial="7"), GpuInfo(uuid="GPU-2", bdf="0000:02:00")]
    told.say("inventory", records.Inventory(ts=T0, node="n1", gpus=gpus, driver="580", rack="r1"), key="n1")
    gpu = told.explanation().gpu
    assert (gpu.listed, gpu.model, gpu.serial, gpu.driver, gpu.rack) == (True, "H100", "7", "580", "r1")
    told.say("inventory", records.Inventory(ts=T0, node="n1", gpus=gpus[1:], driver="580"), key="n1")
    assert told.explanation().gpu.listed is False
    assert "no inventory lists it" in text.render(told.explanation())


def test_the_incident_with_its_evidence_in_the_order_of_time() -> None:
    told = Told()
    incident = {
        "node": "n1", "id": "i1", "state": "open", "family": "memory", "root": "xid_48", "text": "double-bit error",
        "gpus": [Gpu(uuid="GPU-1"), Gpu(uuid="GPU-2")], "opened": T0, "updated": T0 + 9, "count": 3,
        "evidence": [
            {"what": "uncorrectable_ecc", "first": T0 + 5, "last": T0 + 5, "text": "1 error"},
            {"what": "xid_48", "first": T0, "last": T0 + 9, "count": 2, "raw": "NVRM: Xid"},
        ],
    }  # fmt: skip
    told.say("incidents", incident, key="i1")
    told.say("incidents", incident | {"id": "i2", "gpus": [Gpu(uuid="GPU-3")]}, key="i2")
    (seen,) = told.explanation().incidents
    assert [evidence.what for evidence in seen.evidence] == ["xid_48", "uncorrectable_ecc"]
    assert seen.gpus == ["GPU-2"]
    told.say("incidents", incident | {"state": "resolved", "resolved": T0 + 99}, T0 + 99, "i1")
    explanation = told.explanation()
    assert (explanation.incidents[0].state, explanation.as_of) == ("resolved", T0 + 99)
    assert [change.text for change in explanation.timeline] == [
        "incident i1 resolved: double-bit error",
        "incident i1 open: double-bit error",
    ]


def test_cases_predictions_revalidations_rates_and_groups() -> None:
    told = Told()
    for state, ms in ((CaseState.DRAINING, T0), (CaseState.IN_SERVICE, T0 + 50)):
        case = records.Eviction(
            ts=ms, cluster="c", node="n1", uuid="GPU-1", state=state, action=Action.EVICT, cause="heat", opened=T0,
            detail="recovered" if ms > T0 else "heat",
        )  # fmt: skip
        told.say("evictions", case, ms)
    told.say("predictions", {"model": "m", "action": "evict-now", "hours": 3.0, "confidence": 0.9, "text": "soon"})
    told.say("revalidations", {"start": 0, "end": T0, "detected": T0, "confidence": "confirmed"})
    rate = records.Rate(
        ts=T0, cluster="c", node="n1", uuid="GPU-1", signal="ecc", level="fine", quantity="q", value=None
    )
    told.say("rates", rate)
    verdict = {"group": "g", "gpus": ["GPU-1", "GPU-2"], "condition": "degraded", "action": "monitor"}
    told.say("groups", verdict | {"blamed": [{"gpus": ["GPU-1"]}]}, key="g")
    explanation = told.explanation()
    assert [(case.state, case.opened, case.changed) for case in explanation.cases] == [("in-service", T0, T0 + 50)]
    assert explanation.prediction is not None
    assert explanation.prediction.hours == 3.0
    assert [each.blamed for each in explanation.groups] == [True]
    shown = text.render(explanation)
    for said in (
        "ended 2026-01-01 00:00:00: recovered",
        "evict-now: failure in 3 h, confidence 0.9 by m",
        "from the beginning to 2026-01-01 00:00:00: corruption confirmed",
        "ecc: blank (fine)",
        "g: degraded, monitor, this GPU is to blame",
    ):
        assert said in shown
    told.say("groups", verdict | {"gpus": ["GPU-2"]}, key="g")  # placed elsewhere now
    assert told.explanation().groups == []


def test_a_case_says_how_far_its_workflow_has_come_and_what_it_waits_for() -> None:
    told = Told()
    for step, more in ((Step.RESETTING, {"attempts": 2}), (Step.DRAINED, {"attempts": 2, "waits": "cool-down"})):
        case = records.Eviction(
            ts=T0, cluster="c", node="n1", uuid="GPU-1", state=step.state, action=Action.EVICT, cause="heat",
            opened=T0 - 60_000, step=step, deadline=T0 + 900_000, **more,
        )  # fmt: skip
        told.say("evictions", case)
    (seen,) = told.explanation().cases
    assert (seen.step, seen.waits, seen.attempts) == ("drained", "cool-down", 2)
    shown = text.render(told.explanation())
    assert "waits: cool-down; goes on by itself 2026-01-01 00:15:00" in shown
    assert "reset 2 x for this fault lately" in shown
    assert "case resetting, evict: heat" in shown
    assert "case drained, evict: heat; waits: cool-down" in shown


def test_an_answer_stands_beside_the_outputs_that_it_is_about() -> None:
    told = Told()
    asked = {"start": 0, "end": T0, "detected": T0, "confidence": "confirmed"}
    told.say("revalidations", asked)
    told.say("revalidated", {"detected": T0, "end": T0, "result": "corrupt", "checked": 9, "wrong": 2, "author": "ann"})
    shown = text.render(told.explanation())
    assert "  checked again: corrupt, 2 of 9 outputs wrong, by ann" in shown
    assert "outputs were checked again: corrupt, 2 of 9 outputs wrong, by ann" in shown
    told.say("revalidations", asked | {"end": T0 + 1})
    assert [each.answer for each in told.explanation().revalidations] == [""], "there was more evidence since"


def test_the_timeline_is_bounded_newest_first_and_says_what_it_leaves_out() -> None:
    told = Told()
    for number in range(100):
        told.decision(T0 + number * 1000, 0.4 if number % 2 else 1.0)
    explanation = told.explanation()
    assert (len(explanation.timeline), explanation.older) == (60, 40)
    times = [change.ts for change in explanation.timeline]
    assert times == sorted(times, reverse=True)
    assert explanation.timeline[0].text == "weight 1 -> 0.4, in-service, none"


def test_the_place_it_had_before_its_uuid_was_known_takes_nothing_back() -> None:
    told = Told()
    told.score(T0, Condition.HEALTHY, 1.0)
    told.say("scores", None, T0 + 1, "n1/0000:01:00")
    assert told.explanation().score is not None
    told.say("scores", None, T0 + 2)
    assert told.explanation().score is None


def test_a_record_that_cannot_be_read_is_told_and_hides_nothing() -> None:
    told = Told()
    told.assembler.take("scores", Record(0, T0, "GPU-1", "score", b"{"))
    told.decision(T0, 1.0)
    explanation = told.explanation()
    assert explanation.decision is not None
    assert "1 record could not be read" in explanation.not_kept


def test_a_terminal_is_told_nothing_but_text() -> None:
    told = Told()
    told.decision(T0, 0.0, state=CaseState.DRAINING, cause="\x1b[2J\nnext")
    assert "?[2J?next" in text.render(told.explanation())
