"""The embedded log keeps the contract of a log, through closed files, full disks and a second process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import retention
from pipeline.kit_positions import check_positions
from pipeline.kits import check_log
from pipeline.log import Entry, Fenced, Unavailable
from pipeline.sqlite_log import DataDirectoryError, SqliteLog
from schemas.log import Checkpoint, Output, Part
from schemas.topics import TOPICS

PART = Part("node", "observations")
DAY_MS = 86_400_000


Open = Callable[..., SqliteLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens a log in the test's directory, or another one, and closes it in the end."""
    logs = []

    def open_one(directory: Path = tmp_path, **options: Any) -> SqliteLog:
        logs.append(SqliteLog(directory, **options))
        return logs[-1]

    yield open_one
    for log in logs:
        asyncio.run(log.close())


def entries(count: int, ts: int | None = None, key: str = "n", size: int = 10) -> list[Entry]:
    return [Entry(key, "x", os.urandom(size), ts) for _ in range(count)]


def derived(key: str, offset: int, topic: str = "decisions") -> Output:
    return Output(topic, key, "decision", f"{key} at {offset}".encode(), 1_000 + offset, offset, 0)


def test_contract(tmp_path: Path) -> None:
    async def make() -> SqliteLog:
        return SqliteLog(tmp_path / "made" / "here", linger_s=0.0)

    asyncio.run(check_log(make))


def test_positions_of_sources_are_remembered(tmp_path: Path) -> None:
    async def make() -> SqliteLog:
        return SqliteLog(tmp_path)

    asyncio.run(check_positions(make))


def test_clock_gives_the_append_time_where_an_entry_has_none(open_log: Open) -> None:
    async def main() -> None:
        log = open_log(clock=lambda: 42)
        await log.append("observations", [Entry("n", "x", b""), Entry("n", "x", b"", 41)])
        assert [record.ts for record in log.tail("observations", -1)] == [42, 41]

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1023, 1024, 100_000])
def test_large_values_are_packed_where_it_pays_and_come_back_whole(tmp_path: Path, size: int, open_log: Open) -> None:
    values = [b"v" * size, os.urandom(size)]

    async def main() -> None:
        log = open_log()
        await log.append("observations", [Entry("n", "x", value) for value in values])
        assert [record.value for record in log.tail("observations", -1)] == values
        await log.close()

    asyncio.run(main())
    with sqlite3.connect(tmp_path / "log.db") as db:
        kept = db.execute('SELECT packed FROM "observations/0"').fetchall()
    db.close()
    assert kept == [(size >= 1024,), (0,)]


def test_tail_pages_through_a_topic(open_log: Open) -> None:
    async def main() -> None:
        log = open_log()
        assert log.tail("observations", -1) == []
        assert log.end_offset("observations") == 0
        await log.append("observations", entries(5))
        assert [record.offset for record in log.tail("observations", -1, 2)] == [0, 1]
        assert [record.offset for record in log.tail("observations", 1, 9)] == [2, 3, 4]
        assert log.end_offset("observations") == 5

    asyncio.run(main())


def test_reader_ends_when_the_log_is_closed(open_log: Open) -> None:
    async def main() -> None:
        log = open_log()

        async def read_all() -> list[Any]:
            return [batch async for batch in log.read(PART, 0)]

        reader = asyncio.ensure_future(read_all())
        await asyncio.sleep(0)
        await log.close()
        await log.close()
        assert await reader == []
        with pytest.raises(Unavailable, match="closed"):
            log.tail("observations", -1)

    asyncio.run(main())


def test_newest_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, open_log: Open) -> None:
    async def main() -> None:
        log = open_log()
        for offset in (1, 2, 3):
            await log.commit(PART, [], offset, Checkpoint(offset, b"state" * offset))
        await log.close()
        with sqlite3.connect(tmp_path / "log.db") as db:
            assert db.execute("SELECT next_offset FROM checkpoints").fetchall() == [(2,), (3,)]
            db.execute("UPDATE checkpoints SET data = x'28b52ffd00' WHERE next_offset = 3")
        db.close()
        log = open_log()
        assert await log.restore(PART) == (Checkpoint(2, b"state" * 2), 3)

    asyncio.run(main())


def test_position_never_goes_back(open_log: Open) -> None:
    async def main() -> None:
        log = open_log()
        await log.commit(PART, [], 5)
        with pytest.raises(Fenced, match="node/0"):
            await log.commit(PART, [derived("g", 3)], 4)
        assert log.committed(PART) == 5
        assert log.tail("decisions", -1) == []

    asyncio.run(main())


# --- the data directory ------------------------------------------------------------------------------------


def test_second_process_is_told_who_holds_the_directory(tmp_path: Path, open_log: Open) -> None:
    script = "import sys; from pipeline.sqlite_log import SqliteLog; SqliteLog(sys.argv[1]); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    with holder:
        while not (tmp_path / "log.db-wal").exists():
            assert holder.poll() is None
        with pytest.raises(DataDirectoryError) as error:
            SqliteLog(tmp_path)
        assert error.value.text == f"{tmp_path}: in use by process {holder.pid}"
        holder.kill()
        holder.wait()
    open_log()  # the lock went with the process


def test_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError) as error:
        SqliteLog(tmp_path / "file" / "data")
    assert error.value.text == f"{tmp_path}/file/data: cannot be written: Not a directory"
    assert "\n" not in error.value.text


def test_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(DataDirectoryError, match=r"newer version \(format 7, this one reads 1\)"):
        SqliteLog(tmp_path)
    with pytest.raises(DataDirectoryError, match="newer"):  # not "in use": the lock is free again
        SqliteLog(tmp_path)


def test_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(DataDirectoryError, match=r"log\.db: file is not a database"):
        SqliteLog(tmp_path)


# --- failures ----------------------------------------------------------------------------------------------


class Faults:
    """Opens connections whose statements fail when `fails` says so, which is told the statement's number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.count = 0
        self.fails: Callable[[int], bool] = lambda number: False
        faults = self

        class Connection(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:
                faults.strike(error)
                return super().execute(*args)

            def executemany(self, *args: Any) -> sqlite3.Cursor:
                faults.strike(error)
                return super().executemany(*args)

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, **kw, factory=Connection))

    def strike(self, error: Exception) -> None:
        self.count += 1
        if self.fails(self.count):
            raise error


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database or disk is full"), sqlite3.OperationalError("disk I/O error")]
)
def test_every_statement_may_fail_and_nothing_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, for_good: bool, open_log: Open
) -> None:
    faults = Faults(monkeypatch, error)

    async def attempt(nth: int) -> bool:
        """Append and commit with the nth statement failing; True when nothing failed."""
        log = open_log(tmp_path / str(nth), clock=lambda: 1)
        await log.append("observations", entries(3), "source", "3")
        await log.commit(PART, [derived("a", 0)], 1, Checkpoint(1, b"one"))
        first = faults.count
        faults.fails = lambda number: number - first >= nth if for_good else number - first == nth
        outages = []
        try:
            await log.append("observations", entries(2, size=2_000), "source", "5")
        except Unavailable as outage:
            outages.append(str(outage))
        try:
            await log.commit(PART, [derived("b", 1), derived("c", 2, "xids")], 3, Checkpoint(3, b"three"))
        except Unavailable as outage:
            outages.append(str(outage))
        faults.fails = lambda number: False
        expected = f"{tmp_path}/{nth}/log.db: {error}; nothing is lost, it goes on once the disk does"
        assert outages == [expected] * len(outages)

        appended = log.end_offset("observations") == 5
        assert log.end_offset("observations") in (3, 5)
        assert await log.position("source") == ("5" if appended else "3")
        checkpoint, position = await log.restore(PART)
        committed = position == 3
        assert (position, checkpoint) in ((1, Checkpoint(1, b"one")), (3, Checkpoint(3, b"three")))
        assert [record.key for record in log.tail("decisions", -1)] == ["a", "b"][: 1 + committed]
        assert [record.key for record in log.tail("xids", -1)] == ["c"][:committed]
        assert appended + committed == 2 - len(outages)

        await log.append("observations", entries(1))  # the log is usable again
        await log.commit(PART, [], 4)
        await log.close()
        return not outages

    for nth in range(1, 200):
        if asyncio.run(attempt(nth)):
            assert nth > 10
            return
    raise AssertionError("no run passed untouched")


def test_full_disk_is_survived(monkeypatch: pytest.MonkeyPatch, open_log: Open) -> None:
    connect = sqlite3.connect

    def small_disk(*args: Any, **kw: Any) -> sqlite3.Connection:
        db = connect(*args, **kw)
        db.execute("PRAGMA max_page_count = 100")
        return db

    async def main() -> None:
        log = open_log()
        kept = 0

        async def fill() -> None:
            nonlocal kept
            while True:
                await log.append("observations", entries(10, size=5_000), "source", str(kept + 10))
                kept += 10

        with pytest.raises(Unavailable, match="database or disk is full; nothing is lost"):
            await fill()
        assert kept
        assert log.end_offset("observations") == kept
        assert await log.position("source") == str(kept)
        monkeypatch.undo()  # somebody made room
        await log.close()
        log = open_log()
        await log.append("observations", entries(10, size=5_000))
        assert log.end_offset("observations") == kept + 10

    monkeypatch.setattr(sqlite3, "connect", small_disk)
    asyncio.run(main())


def test_damaged_file_ends_the_program_with_one_clear_line(tmp_path: Path, open_log: Open) -> None:
    async def fill() -> None:
        log = open_log()
        await log.append("observations", entries(100, size=5_000))
        await log.close()

    asyncio.run(fill())
    with (tmp_path / "log.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 200_000)
    log = open_log()
    with pytest.raises(DataDirectoryError, match="malformed"):
        log.tail("observations", -1, 1_000)


# --- retention ---------------------------------------------------------------------------------------------


def test_records_outlive_their_retention_on_the_stream_clock_only(open_log: Open) -> None:
    async def main() -> None:
        log = open_log()
        await log.append("observations", entries(3, ts=0))
        await log.append("observations", entries(2, ts=6 * DAY_MS))
        assert await log.prune() == 0
        await log.append("observations", entries(1, ts=8 * DAY_MS))
        assert await log.prune() == 3
        assert [record.offset for record in log.tail("observations", -1)] == [3, 4, 5]

    asyncio.run(main())


def test_newest_record_stays_so_that_offsets_go_on(open_log: Open) -> None:
    async def main() -> None:
        log = open_log()
        await log.append("observations", entries(3, ts=0))
        await log.append("xids", entries(1, ts=100 * DAY_MS))
        assert await log.prune() == 2
        assert log.end_offset("observations") == 3

    asyncio.run(main())


def test_observations_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, open_log: Open) -> None:
    monkeypatch.setattr(retention, "RECORDS_MAX", 7)

    async def main() -> None:
        log = open_log(observations_bytes_max=10_000)
        await log.append("observations", entries(50, size=1_000))
        assert await log.prune() == 40
        assert log.tail("observations", -1)[0].offset == 40
        assert await log.prune() == 0
        await log.append("xids", entries(50, size=1_000))
        assert await log.prune() == 0  # other topics are not

    asyncio.run(main())


def test_nothing_goes_that_a_stage_needs_to_come_back(open_log: Open) -> None:
    async def main() -> None:
        log = open_log(observations_bytes_max=1_000)
        await log.append("observations", entries(50, size=100))
        await log.restore(PART)
        assert await log.prune() == 0  # it has committed nothing yet
        await log.commit(PART, [], 45)
        assert await log.prune() == 0  # without a checkpoint it starts over from the first record
        await log.commit(PART, [], 45, Checkpoint(10, b""))
        await log.commit(PART, [], 45, Checkpoint(30, b""))
        assert await log.prune() == 10
        await log.commit(PART, [], 45, Checkpoint(45, b""))
        log.hold("somebody", "observations", 20)
        assert await log.prune() == 10
        log.hold("somebody", "observations", None)
        assert await log.prune() == 10
        await log.close()
        log = open_log(observations_bytes_max=1_000)
        await log.commit(PART, [], 45, Checkpoint(46, b""))
        assert await log.prune() == 10  # up to 40: more is not too much

    asyncio.run(main())


def test_compacted_topics_keep_the_newest_of_each_key(monkeypatch: pytest.MonkeyPatch, open_log: Open) -> None:
    monkeypatch.setattr(retention, "COMPACT_RECORDS_MIN", 10)

    async def main() -> None:
        log = open_log()
        await log.commit(PART, [derived(f"g{n % 3}", n) for n in range(10)], 10)
        assert await log.prune() == 0  # not worth a pass yet
        await log.commit(PART, [derived(f"g{n % 4}", n) for n in range(10, 14)], 14)
        assert await log.prune() == 10
        assert {record.key: record.value for record in log.tail("decisions", -1)} == {
            "g0": b"g0 at 12",
            "g1": b"g1 at 13",
            "g2": b"g2 at 10",
            "g3": b"g3 at 11",
        }
        assert log.end_offset("decisions") == 14

    asyncio.run(main())


def test_every_declared_topic_can_be_pruned(open_log: Open) -> None:
    async def main() -> None:
        log = open_log()
        for topic in TOPICS:
            await log.append(topic, entries(1))
        assert await log.prune() == 0

    asyncio.run(main())
