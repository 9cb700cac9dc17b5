"""The runner puts every output on the log once and in order, whatever fails, and loses no state on the way."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline import runner
from pipeline.kits import Sums, check_cuts
from pipeline.log import Entry, Fenced, Unavailable
from pipeline.runner import Stats, run_task
from pipeline.sqlite_log import SqliteLog
from schemas.log import Checkpoint, Output, Part, Record

PART = Part("kit", "observations")


def recorded(count: int) -> list[Record]:
    return [Record(n, 1_000 + n, "k", "x", b"v" * (1 + n % 2)) for n in range(count)]


class FakeLog:
    """Hands out `batches`, then ends; keeps what is committed. `failing`: commits that raise, by number."""

    def __init__(self, batches: Sequence[Sequence[Record]], failing: dict[int, Exception] | None = None) -> None:
        self.batches = [list(batch) for batch in batches]
        self.failing = failing or {}
        self.tries = 0
        self.commits: list[tuple[list[Output], int, Checkpoint | None]] = []
        self.checkpoint: Checkpoint | None = None
        self.position = 0

    async def restore(self, part: Part) -> tuple[Checkpoint | None, int]:
        return self.checkpoint, self.position

    async def read(self, part: Part, offset: int) -> AsyncIterator[list[Record]]:
        for batch in self.batches:
            left = [record for record in batch if record.offset >= offset]
            if left or not batch:
                yield left

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        self.tries += 1
        if error := self.failing.get(self.tries):
            raise error
        assert next_offset >= self.position
        self.commits.append((list(outputs), next_offset, checkpoint))
        self.position = next_offset
        self.checkpoint = checkpoint or self.checkpoint

    @property
    def outputs(self) -> list[Output]:
        return [output for outputs, _, _ in self.commits for output in outputs]


class Patient(Sums):
    """Nobody waits for its outputs."""

    def step(self, records: Sequence[Record]) -> list[Output]:
        return [output._replace(urgent=False) for output in super().step(records)]


def run(log: Any, task: Any = Sums, **options: Any) -> Any:
    return asyncio.run(run_task(PART, task, log, **{"backoff_s": (0.0, 0.0)} | options))


def test_toy_task_keeps_the_contract_of_a_task() -> None:
    assert check_cuts(Sums, recorded(12))


def test_input_that_ends_is_committed_with_its_state() -> None:
    log = FakeLog([recorded(10)])
    stats = Stats()
    task = run(log, Patient, stats=stats)
    assert log.outputs == Patient().step(recorded(10))
    assert (log.position, log.checkpoint) == (10, task.checkpoint())
    assert (stats.records, stats.outputs, stats.commits, stats.checkpoints) == (10, len(log.outputs), 1, 1)
    assert (stats.next_offset, stats.stream_ms, stats.restores, stats.muted) == (10, 1_009, 1, False)


def test_batch_with_an_urgent_output_is_committed_at_once_and_others_together() -> None:
    records = recorded(9)
    urgent = [bool(any(output.urgent for output in Sums().step(records[: n + 1]))) for n in range(9)]
    assert any(urgent)
    log = FakeLog([[record] for record in records])
    run(log)
    due = {output.offset + 1 for output in Sums().step(records) if output.urgent}
    assert {position for _, position, _ in log.commits} == due | {9}


def test_idle_input_is_committed_without_waiting() -> None:
    log = FakeLog([recorded(3), [], [], []])
    run(log, Patient, checkpoint_s=math.inf)
    assert [position for _, position, _ in log.commits] == [3, 3]  # the last one is for the state
    assert log.commits[-1][2] is not None


def test_nothing_is_committed_where_nothing_is_new() -> None:
    log = FakeLog([[], []])
    run(log)
    assert log.commits == []


@pytest.mark.parametrize(("checkpoint_s", "count"), [(0.0, 5), (math.inf, 1)])
def test_checkpoints_come_when_they_are_due_and_at_the_end(checkpoint_s: float, count: int) -> None:
    log = FakeLog([[record] for record in recorded(5)])
    run(log, commit_s=0.0, checkpoint_s=checkpoint_s)
    assert sum(checkpoint is not None for _, _, checkpoint in log.commits) == count


def test_recovery_is_mute_up_to_the_committed_position() -> None:
    expected = Sums().step(recorded(20))
    for saved in range(20):
        for position in range(saved, 20):
            before = Sums()
            before.step(recorded(saved))
            log = FakeLog([recorded(20)])
            log.checkpoint, log.position = before.checkpoint() if saved else None, position
            run(log)
            assert log.outputs == [output for output in expected if output.offset >= position]


@pytest.mark.parametrize("number", range(1, 12))
def test_outage_of_the_log_loses_and_doubles_nothing(number: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    failing: dict[int, Exception] = {number + n: Unavailable("the disk is full") for n in range(3)}
    log = FakeLog([[record] for record in recorded(10)], failing)
    stats = Stats()
    task = run(log, commit_s=0.0, checkpoint_s=0.0, stats=stats)
    assert log.outputs == Sums().step(recorded(10))
    assert task.checkpoint() == log.checkpoint
    if number <= 10:
        assert stats.restores == 4
        assert stats.outage == ""
        assert [record.message for record in caplog.records] == ["kit/0 waits: the disk is full", "kit/0 goes on"]


def test_a_state_that_takes_long_is_taken_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [[record] for record in recorded(20)]
    often, rarely = FakeLog(batches), FakeLog(batches)
    run(often, commit_s=0.0, checkpoint_s=0.0)
    monkeypatch.setattr(runner, "LONG_S", 0.0)
    monkeypatch.setattr(runner, "REST", 1e9)
    run(rarely, commit_s=0.0, checkpoint_s=0.0)
    assert sum(checkpoint is not None for _, _, checkpoint in often.commits) == len(often.commits) > 2
    assert sum(checkpoint is not None for _, _, checkpoint in rarely.commits) == 2  # the first, and the last of all
    assert rarely.checkpoint == often.checkpoint
    assert rarely.outputs == often.outputs


def test_tasks_that_share_turns_step_one_at_a_time() -> None:
    async def main() -> None:
        turns, log, stats = asyncio.Lock(), FakeLog([recorded(3), recorded(6)]), Stats()
        async with turns:  # another one steps
            running = asyncio.ensure_future(run_task(PART, Sums, log, stats=stats, turns=turns))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not stats.records
        await running
        assert stats.next_offset == log.position == 6

    asyncio.run(main())


def test_cancelled_while_another_steps_it_commits_what_it_has() -> None:
    async def main() -> None:
        turns, log, stats = asyncio.Lock(), FakeLog([recorded(3), recorded(6)]), Stats()
        running = asyncio.ensure_future(run_task(PART, Patient, log, stats=stats, turns=turns, commit_s=math.inf))
        while not stats.records:
            await asyncio.sleep(0)
        async with turns:
            for _ in range(50):
                await asyncio.sleep(0)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        assert stats.next_offset == log.position == log.checkpoint.next_offset == 3

    asyncio.run(main())


def test_other_owner_ends_it() -> None:
    log = FakeLog([recorded(3)], {1: Fenced("taken over")})
    with pytest.raises(Fenced):
        run(log)


def test_cancelled_while_it_waits_it_commits_and_checkpoints_first(tmp_path: Path) -> None:
    async def main() -> None:
        log = SqliteLog(tmp_path)
        await log.append("observations", [Entry("k", "x", b"v", n) for n in range(5)])
        stats = Stats()
        running = asyncio.ensure_future(run_task(PART, Patient, log, commit_s=math.inf, stats=stats))
        while stats.records < 5:
            await asyncio.sleep(0)
        assert log.committed(PART) == 0
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()
        checkpoint, position = await log.restore(PART)
        assert checkpoint == Checkpoint(5, b"5")
        assert position == 5
        await log.close()

    asyncio.run(main())


def test_cancelled_during_an_outage_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = SqliteLog(tmp_path)
        await log.append("observations", [Entry("k", "x", b"v")])
        stats = Stats()
        running = asyncio.ensure_future(run_task(PART, Patient, log, commit_s=math.inf, stats=stats))
        while not stats.records:
            await asyncio.sleep(0)
        await log.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()

    asyncio.run(main())
    assert "kit/0 ends with work to redo" in caplog.text


def test_idle_live_log_is_told_the_time(tmp_path: Path) -> None:
    async def main() -> None:
        log = SqliteLog(tmp_path, linger_s=0.0)
        stats = Stats()
        running = asyncio.ensure_future(run_task(PART, Sums, log, ticks=log, stats=stats, clock=lambda: 77))
        while not stats.records:
            await asyncio.sleep(0.01)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        (tick,) = log.tail("observations", -1)
        assert (tick.ts, tick.key, tick.kind, tick.value) == (77, "", "tick", b'{"kind":"tick","ts":77}')
        await log.close()

    asyncio.run(main())
