"""A recording holds every stage's input once, whatever interrupts it, with digests that a replay can prove."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import recorder as recorder_module
from pipeline.errors import UsageProblem
from pipeline.log import Entry
from pipeline.recorder import Recorder
from pipeline.recording_file import Recordings
from pipeline.recording_writer import RecordingWriter
from pipeline.replay import Replayed, replay
from pipeline.retention import Retention
from pipeline.runner import Stats, run_task
from pipeline.sqlite_log import SqliteLog
from pipeline.topology import Stage
from schemas.log import Checkpoint, Output, Record


class Relay:
    """A toy stage: counts its input and says so on its topics, more on some records than on others."""

    topics: tuple[str, ...] = ("xids", "fleet-events")

    def __init__(self, partition: int = 0) -> None:
        self.count = 0

    def step(self, records: Sequence[Record]) -> list[Output]:
        outputs = []
        for record in records:
            self.count += 1
            for ordinal in range(record.offset % 4):
                value = b'{"count":%d,"ordinal":%d}' % (self.count, ordinal)
                topic = self.topics[(record.offset + ordinal) % len(self.topics)]
                outputs.append(Output(topic, record.key, "count", value, record.ts, record.offset, ordinal))
        return outputs

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.count, b"")

    def restore(self, checkpoint: Checkpoint) -> None:
        self.count = checkpoint.next_offset


class Last(Relay):
    topics = ("decisions", "xids")


STAGES = (
    Stage("first", "observations", ("xids", "fleet-events"), Relay),
    Stage("second", "fleet-events", ("decisions", "xids"), Last),
)


class House:
    """A log with the toy stages behind it, run by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = SqliteLog(directory, linger_s=0.0)
        self.appended = 0

    async def work(self, count: int) -> None:
        """`count` more observations, stepped by all stages."""
        entries = [Entry("n", "tick", b'{"n":%d}' % n, 1_000 + n) for n in range(count)]
        await self.log.append("observations", entries)
        for stage in STAGES:
            stats = Stats()
            run = asyncio.ensure_future(
                run_task(stage.part(), partial(stage.make, 0), self.log, commit_s=0.0, stats=stats)
            )
            while self.log.committed(stage.part()) < self.log.end_offset(stage.input):
                await asyncio.sleep(0)
            run.cancel()
            with suppress(asyncio.CancelledError):
                await run

    async def reopen(self) -> None:
        await self.log.close()
        self.log = SqliteLog(self.directory, linger_s=0.0)


@pytest.fixture
def house(tmp_path: Path) -> Any:
    house = House(tmp_path / "data")
    yield house
    asyncio.run(house.log.close())


def verified(path: Path) -> Replayed:
    with asyncio.Runner():  # `replay` brings its own loop
        return replay([path], verify=True, stages=STAGES)


def inputs(log: SqliteLog, topic: str) -> list[Record]:
    return [record._replace(origin=None) for record in log.tail(topic, -1, 10_000)]


def assert_complete(path: Path, log: SqliteLog) -> None:
    recordings = Recordings([path])
    assert list(recordings.records("first")) == inputs(log, "observations")
    assert list(recordings.records("second")) == inputs(log, "fleet-events")
    assert recordings.notes == []


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.zst"])
def test_recording_of_a_run_proves_its_outputs(tmp_path: Path, house: House, name: str) -> None:
    async def main() -> None:
        recorder = Recorder(tmp_path / name, house.log, STAGES)
        for _ in range(5):
            await house.work(20)
            recorder.round()
        await house.work(3)
        recorder.close()

    asyncio.run(main())
    assert_complete(tmp_path / name, house.log)
    result = verified(tmp_path / name)
    assert result.differences == []
    assert result.proved == sum(house.log.end_offset(topic) for topic in ("xids", "fleet-events", "decisions"))


def test_digests_come_by_count_and_by_time(tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "DIGEST_OUTPUTS", 10)
    now = 0.0

    async def main() -> None:
        nonlocal now
        recorder = Recorder(tmp_path / "r", house.log, STAGES, clock_s=lambda: now)
        await house.work(40)
        recorder.round()
        _, digests = Recordings([tmp_path / "r"]).contents()
        assert all(digest.outputs in range(10, 14) for digest in digests)
        count = len(digests)
        await house.work(1)
        recorder.round()
        assert len(Recordings([tmp_path / "r"]).contents()[1]) == count
        now = 61.0
        await house.work(1)
        recorder.round()
        assert len(Recordings([tmp_path / "r"]).contents()[1]) > count
        recorder.close()

    asyncio.run(main())
    _, digests = Recordings([tmp_path / "r"]).contents()
    for stage in ("first", "second"):
        ends = [(digest.from_offset, digest.next_offset) for digest in digests if digest.stage == stage]
        assert [start for start, _ in ends] == [0] + [end for _, end in ends[:-1]]
    assert verified(tmp_path / "r").differences == []


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.zst"])
def test_recording_goes_on_behind_whatever_a_crash_left(
    tmp_path: Path, house: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "DIGEST_OUTPUTS", 10)
    draw = random.Random(5)
    path = tmp_path / name

    async def main() -> None:
        for _ in range(12):
            recorder = Recorder(path, house.log, STAGES, clock_s=lambda: draw.random() * 100)
            for _ in range(draw.randint(0, 3)):
                await house.work(draw.randint(0, 9))
                recorder.round()
            recorder._writer._file.close()  # crash: the last writes may have got nowhere, or half way
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.truncate(draw.randint(size // 2, size))
            await house.work(2)
            await house.reopen()
        recorder = Recorder(path, house.log, STAGES)
        await house.work(5)
        recorder.close()

    asyncio.run(main())
    assert_complete(path, house.log)
    result = verified(path)
    assert result.differences == []
    assert result.proved > 0


def test_other_output_is_found(tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        recorder = Recorder(tmp_path / "r", house.log, STAGES)
        await house.work(10)
        recorder.round()
        recorder.close()

    asyncio.run(main())
    monkeypatch.setattr(Last, "topics", ("decisions", "decisions"))
    (difference,) = verified(tmp_path / "r").differences
    assert difference.startswith("second: what offsets 0 to 8 caused differs: ")


def test_log_that_has_forgotten_input_gives_no_digests(
    tmp_path: Path, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await house.work(20)
        with house.log._file.transaction() as db:
            db.execute('DELETE FROM "observations/0" WHERE "offset" < 5')
        for _ in range(2):
            recorder = Recorder(tmp_path / "r", house.log, STAGES)
            await house.work(5)
            recorder.close()

    asyncio.run(main())
    assert "input of first is gone from the log: no digests for it" in caplog.text
    assert_complete(tmp_path / "r", house.log)
    assert {digest.stage for digest in Recordings([tmp_path / "r"]).contents()[1]} == {"second"}


def test_retention_waits_for_the_recorder(tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        await house.work(20)
        house.log._retention = Retention(house.log._file, 1)
        recorder = Recorder(tmp_path / "r", house.log, STAGES)
        assert await house.log.prune() == 0
        recorder.round()
        assert await house.log.prune() > 0
        recorder.close()

    asyncio.run(main())
    assert verified(tmp_path / "r").notes == []


@pytest.mark.parametrize("content", [b"my diary", b"my diary\n", b'{"ts":1,"kind":"tick","value":{}}\n'])
def test_file_that_is_something_else_is_left_alone(tmp_path: Path, house: House, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(UsageProblem, match="is something else, not a recording of a run"):
        Recorder(tmp_path / "r", house.log, STAGES)
    assert (tmp_path / "r").read_bytes() == content


def test_recording_of_another_log_is_refused(tmp_path: Path, house: House) -> None:
    async def record(log: SqliteLog, value: bytes) -> None:
        await log.append("observations", [Entry("n", "tick", value, 1_000)])
        Recorder(tmp_path / "r", log, STAGES).close()

    asyncio.run(record(house.log, b"1"))
    for value in (b"2", None):
        other = SqliteLog(tmp_path / f"other {value!r}")
        with pytest.raises(UsageProblem, match="is a recording of another log"):
            asyncio.run(record(other, value)) if value else Recorder(tmp_path / "r", other, STAGES)
        asyncio.run(other.close())


def test_file_that_cannot_be_written_is_a_usage_problem(tmp_path: Path, house: House) -> None:
    with pytest.raises(UsageProblem, match="cannot record: No such file or directory"):
        Recorder(tmp_path / "none" / "r", house.log, STAGES)


def test_full_disk_is_said_once_and_nothing_is_missing_afterwards(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(recorder_module, "ROUND_S", 0.0)
    room = 300
    write = RecordingWriter._write

    def into_little_room(self: Any) -> None:
        nonlocal room
        if len(self._pending) > room:
            self._file.write(self._pending[:room])
            room = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(self._pending)
        write(self)

    async def main() -> None:
        nonlocal room
        monkeypatch.setattr(RecordingWriter, "_write", into_little_room)
        recording = asyncio.ensure_future(Recorder(tmp_path / "r", house.log, STAGES).run())
        for _ in range(5):
            await house.work(5)
            await asyncio.sleep(0.01)
        room = 1_000_000
        await house.work(5)
        await asyncio.sleep(0.01)
        recording.cancel()
        with suppress(asyncio.CancelledError):
            await recording

    asyncio.run(main())
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/r: recording waits: [Errno 28] No space left on device"
    ]
    assert_complete(tmp_path / "r", house.log)
    assert verified(tmp_path / "r").differences == []
