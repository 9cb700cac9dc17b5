"""Whatever a node says and does not say: unknown ends by a fresh sample, and by nothing else."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.node import NodeTask
from processors.testing import Observations, decide, gpu, judge, ms
from schemas import records, topics
from schemas.fields import GPU_TEMP, MEM_CLOCK
from schemas.log import Record
from schemas.states import Condition

NODE = "n1"
GPUS = [gpu(NODE, 0), gpu(NODE, 1)]

_frames = st.tuples(st.just("frames"), st.sampled_from([[0], [1], [0, 1]]), st.booleans())
_lists = st.tuples(st.just("list"), st.sampled_from([[], [0], [0, 1]]), st.sampled_from(["b1", "b2"]))
_sources = st.tuples(
    st.just("source"),
    st.sampled_from(["dcgm", "nvml", "agent", "kmsg"]),
    st.sampled_from([("ok", ""), ("failing", "hung"), ("failing", "engine-down"), ("ended", "")]),
)
_works = st.tuples(st.just("work"), st.sampled_from(["maintenance", "end-maintenance"]), st.integers(1, 200))
_commands = st.tuples(
    st.just("command"),
    st.sampled_from(["started", "done", "failed", "refused", "dry-run"]),
    st.sampled_from(["c1", "c2"]),
)
_waits = st.tuples(st.just("wait"), st.integers(1, 80), st.none())
_stories = st.lists(st.one_of(_frames, _lists, _sources, _works, _commands, _waits), min_size=3, max_size=25)


def told(story: list[tuple[str, object, object]]) -> tuple[list[Record], dict[str, list[int]]]:
    """The log, and per GPU when it gave a value (append times)."""
    log, now = Observations().inventory(NODE, 0, 2, boot="b1"), 0
    samples: dict[str, list[int]] = {each.uuid: [] for each in GPUS}
    for what, one, other in story:
        now += 1
        if what == "frames":
            value = 50 if other else None
            listed = [GPUS[at] for at in one]  # type: ignore[attr-defined]
            for _ in range(7):
                log.frame(NODE, now, {GPU_TEMP: value, MEM_CLOCK: value}, gpus=listed)
                for each in listed if other else ():
                    samples[each.uuid].append(ms(now))
                now += 1
        elif what == "list":
            log.inventory(NODE, now, [GPUS[at] for at in one], boot=str(other))  # type: ignore[attr-defined]
        elif what == "source":
            state, cause = other  # type: ignore[misc]
            log.report(now, records.SourceStatus(ts=0, node=NODE, source=str(one), state=state, cause=cause))
        elif what == "command":
            log.report(now, records.CommandResult(ts=0, node=NODE, id=str(other), action="reset", state=str(one)))
        elif what == "work":
            word = records.Operator(ts=ms(now), node=NODE, action=str(one), until=ms(now + int(str(other))))
            log.add(now, NODE, "operator", records.encode(word))
        else:
            log.ticks(now, now + int(str(one)))
            now += int(str(one))
    return log.ticks(now + 1, now + 80).records, samples


@settings(max_examples=60, deadline=None)
@given(_stories)
def test_unknown_becomes_nothing_better_without_a_fresh_sample(story: list[tuple[str, object, object]]) -> None:
    log, samples = told(story)
    said = judge(log)
    scores = [(output.ts, score) for output, score in zip(_scores(said.outputs), said.scores, strict=True)]
    for each in GPUS:
        unknown_at, held, held_at = None, 1.0, 0
        for appended, score in ((at, score) for at, score in scores if score.uuid == each.uuid):
            if score.condition is Condition.UNKNOWN:
                unknown_at = appended
            elif unknown_at is not None and score.condition is not Condition.FAILED:
                fresh = [at for at in samples[each.uuid] if unknown_at - 5_000 <= at <= appended]
                assert fresh, f"{score} without a sample since {unknown_at}"
                unknown_at = None
            if score.held > held:
                assert [at for at in samples[each.uuid] if held_at <= at <= appended], f"{score}: better, and no sample"
            held, held_at = score.held, appended
        if not samples[each.uuid] or samples[each.uuid][-1] < log[-1].ts - 20_000:
            newest = said.latest[each.uuid]
            assert newest.condition in (Condition.UNKNOWN, Condition.FAILED), newest


@settings(max_examples=25, deadline=None)
@given(_stories, st.integers(1, 40))
def test_neither_batches_nor_checkpoints_matter(story: list[tuple[str, object, object]], size: int) -> None:
    log, _ = told(story)
    whole = NodeTask()
    outputs, state = whole.step(log), whole.checkpoint()
    task, said = NodeTask(), []
    for start in range(0, len(log), size):
        said += task.step(log[start : start + size])
        saved, task = task.checkpoint(), NodeTask()
        task.restore(saved)
    assert said == outputs
    assert task.checkpoint() == state


# --- habits of sound nodes, one after the other, for as long as they may take ---------------------------------

# what, seconds: less than the graces of the default policy, by the timer's grid and what is said in between
_habits = st.lists(
    st.one_of(
        st.tuples(st.just("agent is killed"), st.integers(1, 55)),
        st.tuples(st.just("agent stops"), st.integers(1, 580)),
        st.tuples(st.just("engine is down"), st.integers(1, 900)),
        st.tuples(st.just("exporter is down"), st.integers(1, 900)),
        st.tuples(st.just("driver is reloaded"), st.integers(1, 580)),
        st.tuples(st.just("MIG is set up"), st.integers(1, 25)),
        st.tuples(st.just("a GPU is reset"), st.integers(1, 110)),
        st.tuples(st.just("blanks"), st.integers(1, 200)),
    ),
    max_size=4,
)
_CAUSES = {
    "engine is down": ("dcgm", "engine-down"),
    "exporter is down": ("exporter:http://n1:9400", "exporter-down"),
    "driver is reloaded": ("nvml", "driver"),
}


def lived(habits: list[tuple[str, int]], word_s: int) -> Observations:
    """word_s: from one word of the agent on a source that fails to the next."""
    log, now, epoch, load = Observations(), 0, 1, 1

    def speak(seconds: int, gpus: list[int]) -> None:
        nonlocal now
        for _ in range(seconds):
            now += 1
            log.frame(NODE, now, {GPU_TEMP: 50, MEM_CLOCK: 1500}, gpus=[GPUS[at] for at in gpus], epoch=epoch)

    def say(source: str, state: str, cause: str = "") -> None:
        told = records.SourceStatus(ts=0, node=NODE, source=source, state=state, cause=cause)
        log.report(now, told, epoch=epoch)

    log.inventory(NODE, 0, 2, boot="b1", driver_load="1")
    speak(20, [0, 1])
    for what, seconds in habits:
        if what == "MIG is set up":
            log.inventory(NODE, now, [GPUS[1]], boot="b1", driver_load=str(load), epoch=epoch)
            speak(seconds, [1])
        elif what == "blanks":
            for _ in range(seconds):
                now += 1
                log.frame(NODE, now, {GPU_TEMP: None, MEM_CLOCK: None}, gpus=GPUS, epoch=epoch)
        elif what == "a GPU is reset":
            result = records.CommandResult(ts=0, node=NODE, id=f"c{now}", action="reset", state="started")
            log.report(now, result, epoch=epoch)
            log.ticks(now + 1, now + seconds)
            now += seconds
            log.report(now, msgspec.structs.replace(result, state="done"), epoch=epoch)
        elif what in _CAUSES:
            if what == "driver is reloaded":
                load += 1
                speak(3, [1])
            for second in range(seconds):
                now += 1
                log.tick(now)
                if second % word_s == 0:
                    say(_CAUSES[what][0], "failing", _CAUSES[what][1])
            say(_CAUSES[what][0], "ok")
        else:
            if what == "agent stops":
                say("agent", "ended")
            log.ticks(now + 1, now + seconds)
            now, epoch = now + seconds, epoch + 1
        log.inventory(NODE, now, 2, boot="b1", driver_load=str(load), epoch=epoch)
        speak(20, [0, 1])
    return log.tick(now + 5)


@settings(max_examples=60, deadline=None)
@given(_habits, st.integers(1, 45))
def test_habits_of_sound_nodes_evict_nobody_however_they_follow(habits: list[tuple[str, int]], word_s: int) -> None:
    said = judge(lived(habits, word_s))
    assert not decide(said).evictions
    for each in GPUS:
        assert said.latest[each.uuid].condition is Condition.HEALTHY
        assert said.latest[each.uuid].reasons == []


def _scores(outputs: list[object]) -> list[object]:
    return [output for output in outputs if output.topic == topics.SCORES and output.kind != "tombstone"]  # type: ignore[attr-defined]
