"""What the embedded log has kept can be read beside the process that writes it, and changes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from pipeline.history import Asked
from pipeline.log import Entry
from pipeline.sqlite_file import DataDirectoryError
from pipeline.sqlite_history import BATCH_RECORDS, SqliteHistory
from pipeline.sqlite_log import SqliteLog
from schemas.log import Output, Part, Record

T0 = 1_767_225_600_000


def append(log: SqliteLog, topic: str, *entries: Entry) -> None:
    asyncio.run(log.append(topic, entries))


def read(history: SqliteHistory, *asked: Asked) -> list[tuple[str, Record]]:
    found: list[tuple[str, Record]] = []
    history.read(asked, lambda topic, record: found.append((topic, record)))
    return found


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    return SqliteLog(tmp_path)


def test_it_reads_while_another_writes_and_sees_what_was_committed_since(log: SqliteLog, tmp_path: Path) -> None:
    append(log, "scores", Entry("a", "score", b"1", T0), Entry("b", "score", b"x" * 5000, T0 + 1))
    history = SqliteHistory(tmp_path)
    assert [record.value for _, record in read(history, Asked("scores"))] == [b"1", b"x" * 5000]
    append(log, "scores", Entry("a", "score", b"2", T0 + 2))
    assert [record.value for _, record in read(history, Asked("scores"))] == [b"1", b"x" * 5000, b"2"]
    asyncio.run(log.close())
    assert len(read(history, Asked("scores"))) == 3


def test_only_what_is_asked_for(log: SqliteLog, tmp_path: Path) -> None:
    append(log, "scores", *(Entry(key, kind, b"", T0 + at) for at, (key, kind) in enumerate(["ax", "by", "ay", "bx"])))
    history = SqliteHistory(tmp_path)

    def offsets(asked: Asked) -> list[int]:
        return [record.offset for _, record in read(history, asked)]

    assert offsets(Asked("scores", since=T0 + 2)) == [2, 3]
    assert offsets(Asked("scores", keys=frozenset({"a"}))) == [0, 2]
    assert offsets(Asked("scores", kinds=frozenset({"x"}))) == [0, 3]
    assert offsets(Asked("scores", T0 + 1, frozenset({"a", "b"}), frozenset({"y"}))) == [1, 2]
    assert read(history, Asked("no-such-topic"), Asked("decisions")) == []


def test_topics_come_in_the_order_they_were_asked_for_and_whole(log: SqliteLog, tmp_path: Path) -> None:
    append(log, "scores", *(Entry("a", "score", b"%d" % at, T0) for at in range(BATCH_RECORDS + 10)))
    append(log, "xids", Entry("n", "xid", b"", T0))
    found = read(SqliteHistory(tmp_path), Asked("xids"), Asked("scores"))
    assert [topic for topic, _ in found[:2]] == ["xids", "scores"]
    assert [record.offset for _, record in found[1:]] == list(range(BATCH_RECORDS + 10))


def test_origins_come_along(log: SqliteLog, tmp_path: Path) -> None:
    output = Output("scores", "a", "score", b"1", T0, 7, 2)
    asyncio.run(log.commit(Part("node", "observations"), [output], 8))
    ((_, record),) = read(SqliteHistory(tmp_path), Asked("scores"))
    assert record.origin == ("node", 0, 7, 2, 0)


def test_times(log: SqliteLog, tmp_path: Path) -> None:
    append(log, "scores", Entry("a", "score", b"", T0 + 5), Entry("a", "score", b"", T0 + 9))
    append(log, "observations", Entry("n1", "tick", b"", T0 + 7), Entry("n2", "tick", b"", T0 + 8))
    history = SqliteHistory(tmp_path)
    assert history.span(["scores", "xids"]) == (T0 + 5, T0 + 9)
    assert history.span(["xids"]) is None
    assert (history.heard("n1"), history.heard("n3")) == (T0 + 7, None)


def test_reading_writes_nothing(log: SqliteLog, tmp_path: Path) -> None:
    append(log, "scores", Entry("a", "score", b"", T0))
    asyncio.run(log.close())
    before = (tmp_path / "log.db").read_bytes()
    read(SqliteHistory(tmp_path), Asked("scores"))
    assert (tmp_path / "log.db").read_bytes() == before


def test_a_directory_without_a_log_is_one_line_and_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="holds no log"):
        SqliteHistory(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(DataDirectoryError, match="not a database"):
        read(SqliteHistory(tmp_path), Asked("scores"))


def test_a_file_of_a_newer_version_is_refused(log: SqliteLog, tmp_path: Path) -> None:
    asyncio.run(log.close())
    with sqlite3.connect(tmp_path / "log.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(DataDirectoryError, match="format 99"):
        read(SqliteHistory(tmp_path), Asked("scores"))
