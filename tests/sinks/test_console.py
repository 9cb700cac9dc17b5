from __future__ import annotations

import asyncio
import io

import msgspec
import pytest
from rich.console import Console

from schemas import records, topics
from schemas.log import Record
from schemas.records import Reason, encode
from schemas.states import Action, CaseState, Condition, Step
from sinks.console import ConsoleSink
from sinks.kit import Probe, check_sink
from sinks.screen import draw
from sinks.view import Facts

TS = 1_767_225_600_000
FACTS = Facts("simulated fleet with faults, 10 x real time", "default@0123456789ab", 75.0, TS)


def score(number, value=1.0, condition=Condition.HEALTHY, text=""):
    reasons = [Reason(signal="xid", level="evict", cap=value, text=text)] if text else []
    return records.Score(
        ts=TS,
        cluster="c1",
        node=f"node-{number:04}",
        uuid=f"GPU-{number:08x}-0000",
        bdf="0000:18:00",
        score=value,
        held=value,
        condition=condition,
        reasons=reasons,
    )


def decision(of, weight, state=CaseState.IN_SERVICE, action=Action.NONE, **more):
    return records.Decision(
        ts=of.ts,
        cluster=of.cluster,
        node=of.node,
        uuid=of.uuid,
        bdf=of.bdf,
        weight=weight,
        score=of.score,
        condition=of.condition,
        state=state,
        action=action,
        reasons=of.reasons,
        **more,
    )


def xid(code, meaning="double-bit ECC error"):
    return records.Xid(
        ts=TS,
        cluster="c1",
        node="node-0001",
        uuid="GPU-00000001-0000",
        fault="xid",
        code=code,
        severity="critical",
        response="remove_node",
        meaning=meaning,
    )


def recorded(values):
    made = [Record(at, TS, value.node, "any", encode(value)) for at, value in enumerate(values)]
    return [record._replace(key=value.uuid) for record, value in zip(made, values, strict=True)]


def empty(facts=FACTS, size=(80, 24), encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=size[0], height=size[1], force_terminal=False)
    return ConsoleSink(lambda: facts, console), console


def sink(scores=(), decisions=(), xids=(), **terminal):
    made, console = empty(**terminal)

    async def apply():
        await made.apply(topics.SCORES, recorded(scores))
        await made.apply(topics.DECISIONS, recorded(decisions))
        await made.apply(topics.XIDS, recorded(xids))

    asyncio.run(apply())
    return made, console


def screen(*args, facts=FACTS, **kwargs):
    made, console = sink(*args, facts=facts, **kwargs)
    return draw(made.view, facts, console).plain.splitlines()


def line(shown, word):
    return next(text for text in shown if word in text)


def test_before_the_first_record_it_says_so():
    shown = screen(facts=FACTS._replace(event_ms=0))
    assert "no GPU has been judged yet" in "\n".join(shown)
    assert "event time" not in "\n".join(shown)


def test_the_header_says_what_runs_on_which_policy_and_that_it_only_observes():
    neighbour = msgspec.structs.replace(score(2), node=score(1).node)
    shown = screen([score(1), neighbour])
    assert shown[0] == "GPU Vitals  simulated fleet with faults, 10 x real time  observing only  0:01:15"
    assert shown[1] == "2 GPUs on 1 node  policy default@012345  event time 2026-01-01 00:00:00"


def test_the_distribution_stands_beside_the_typical_week():
    sick = [score(8, 0.7, Condition.WARNING), score(9, 0.0, Condition.UNKNOWN)]
    shown = screen([*(score(number) for number in range(8)), *sick])
    for condition, count, share, typical in (
        ("healthy ", "8", "80.0 %", "94.2 %"),
        ("warning ", "1", "10.0 %", "3.8 %"),
        ("degraded", "0", "0.0 %", "1.5 %"),
        ("failed ", "0", "0.0 %", "0.5 %"),
        ("unknown ", "1", "10.0 %", ""),
    ):
        text = line(shown, f"  {condition}")
        assert text.rstrip().endswith(typical)
        assert f" {count} " in text
        assert share in text


def test_the_worst_come_first_with_weight_state_and_reason():
    scores = [
        score(1, 0.7, Condition.WARNING, "80.5 C"),
        score(2, 0.0, Condition.FAILED, "Xid 79: fell off the bus"),
        score(3, 0.9, Condition.UNKNOWN, "silent for 12 s"),
        score(4, 0.4, Condition.DEGRADED, "clocks 20 % slow"),
        score(5),
    ]
    decisions = [decision(scores[1], 0.0, CaseState.DRAINING, held_by="budget")]
    shown = screen(scores, decisions, size=(120, 24))
    at = shown.index(line(shown, "Worst GPUs")) + 1
    assert [text.split()[1] for text in shown[at : at + 4]] == [f"node-000{n}" for n in (2, 4, 3, 1)]
    assert "0.00 draining" in shown[at]
    assert "Xid 79: fell off the bus (held: budget)" in shown[at]
    assert "GPU-00000002 0000:18:00" in shown[at]
    assert "4 not healthy" in shown[at - 1]


def test_a_gpu_that_is_out_shows_its_step_and_what_it_waits_for():
    sick = score(1, 0.0, Condition.FAILED, "Xid 119")
    made = records.Eviction(
        ts=TS,
        cluster="c1",
        node=sick.node,
        uuid=sick.uuid,
        state=CaseState.DRAINED,
        action=Action.EVICT,
        cause="Xid 119",
        opened=TS,
        step=Step.DRAINED,
        waits="budget: 2 of 2",
    )
    shown, console = sink([sick], [decision(sick, 0.0, CaseState.DRAINED, Action.EVICT)], size=(120, 24))

    def after(case):
        record = Record(case.ts, TS, sick.uuid, "eviction", encode(case))
        asyncio.run(shown.apply(topics.EVICTIONS, [record]))
        return line(draw(shown.view, FACTS, console).plain.splitlines(), "GPU-00000001")

    assert "drained     Xid 119 (waits: budget: 2 of 2)" in after(made)
    assert "quarantined Xid 119" in after(msgspec.structs.replace(made, step=Step.QUARANTINED, waits="", ts=TS + 1))
    over = msgspec.structs.replace(made, step=Step.IN_SERVICE, state=CaseState.IN_SERVICE, waits="", ts=TS + 2)
    assert "drained     Xid 119" in after(over), "there is no case any more: what was decided stands"


def test_a_fleet_that_comes_up_is_no_news_and_what_changes_is():
    healthy = [score(number) for number in range(3)]
    fine = [decision(one, 1.0) for one in healthy]
    stopped = decision(score(1, 0.0, Condition.FAILED, "Xid 48"), 0.0, CaseState.DRAINING)
    shown = screen(healthy, [*fine, stopped])
    at = shown.index(line(shown, "Latest decisions")) + 1
    assert "1.00->0.00 draining" in shown[at]
    assert "Xid 48" in shown[at]
    assert not any("GPU" in text for text in shown[at + 1 :])


@pytest.mark.parametrize(
    ("weight", "state", "action", "words"),
    [
        (1.0, CaseState.IN_SERVICE, Action.NONE, "healthy again"),
        (0.0, CaseState.DRAINED, Action.REMOVE_NODE, "remove-node"),
    ],
)
def test_a_decision_without_a_reason_of_its_own_says_what_it_is(weight, state, action, words):
    first = decision(score(1, 0.0, Condition.FAILED, "Xid 79"), 0.0, CaseState.DRAINING)
    shown = screen([score(1)], [first, decision(score(1), weight, state, action)])
    assert words in shown[shown.index(line(shown, "Latest decisions")) + 1]


def test_events_are_named_with_what_is_done_about_them():
    assert "Xid 79 remove node fell off the bus" in line(screen(xids=[xid(79, "fell off the bus")]), "Xid 79")


def test_what_a_user_must_know_stands_below_the_header():
    shown = screen(facts=FACTS._replace(notes=["source kmsg: failing: permission denied"]))
    assert shown[2] == "source kmsg: failing: permission denied"


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 10)])
def test_it_fits_the_terminal(size):
    scores = [score(number, 0.0, Condition.FAILED, "why " * 60) for number in range(100)]
    decisions = [decision(one, 0.0, CaseState.DRAINING) for one in scores]
    shown = screen(scores, decisions, [xid(48)] * 50, size=size)
    assert len(shown) <= size[1]
    assert max(map(len, shown)) <= size[0]


def test_a_terminal_without_unicode_gets_ascii_bars():
    assert "#####" in line(screen([score(1)], encoding="ascii"), "  healthy")


def test_a_tombstone_removes_the_gpu():
    made, _ = sink([score(1)])
    asyncio.run(made.apply(topics.SCORES, [Record(9, TS, score(1).uuid, "tombstone", b"")]))
    assert made.view.scores == {}


def test_the_last_view_stays_when_it_ends():
    made, console = sink([score(1)])

    async def show():
        shown = asyncio.create_task(made.show())
        await asyncio.sleep(0.05)
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)

    asyncio.run(show())
    console.file.flush()
    left = console.file.buffer.getvalue().decode()
    assert left.rstrip().endswith(draw(made.view, FACTS, console).plain.rstrip())


@pytest.mark.parametrize(
    ("topic", "values"),
    [
        (topics.SCORES, [score(1), score(2), score(1, 0.0, Condition.FAILED)]),
        (topics.DECISIONS, [decision(score(1), weight) for weight in (1.0, 0.4, 0.0)]),
        (topics.XIDS, [xid(31), xid(48), xid(79)]),
    ],
)
def test_contract(topic, values):
    def make():
        made, console = empty()
        return Probe(made, lambda: draw(made.view, FACTS, console).plain)

    check_sink(make, topic, recorded(values))
