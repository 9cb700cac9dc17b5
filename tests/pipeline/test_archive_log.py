"""Recordings are read as they were written, however they end; what one stage writes reaches the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.archive_log import BEFORE_ALL, ArchiveLog, Start
from pipeline.errors import UsageProblem
from pipeline.recording_file import Recordings
from schemas.log import Checkpoint, Output, Part, Record
from schemas.recording import Digest, render, render_digest

FIRST = Part("first", "observations")
SECOND = Part("second", "fleet-events")


def line(ts: int, **more: Any) -> bytes:
    return json.dumps({"ts": ts, "node": "n", "kind": "tick", "value": {"ts": ts}} | more).encode() + b"\n"


def write(path: Path, data: bytes) -> list[Path]:
    path.write_bytes(zstandard.ZstdCompressor().compress(data) if path.suffix == ".zst" else data)
    return [path]


def records(paths: Sequence[Path], stage: str = "node") -> list[Record]:
    return list(Recordings(paths).records(stage))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_lines_become_records_numbered_on(tmp_path: Path, name: str) -> None:
    paths = write(tmp_path / name, line(5) + b"\n" + line(6, offset=7) + line(6) + line(4, offset=3))
    found = records(paths)
    assert [(record.offset, record.ts) for record in found] == [(0, 5), (7, 6), (8, 6), (9, 4)]
    assert found[0] == Record(0, 5, "n", "tick", b'{"ts":5}')


def test_zstd_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(zstandard.ZstdCompressor().compress(line(5)))
    assert len(records([tmp_path / "recording"])) == 1


def test_zstd_frames_stand_one_behind_the_other(tmp_path: Path) -> None:
    frames = [zstandard.ZstdCompressor().compress(line(n) * 50) for n in (1, 2, 3)]
    (tmp_path / "a.zst").write_bytes(b"".join(frames))
    assert [record.ts for record in records([tmp_path / "a.zst"])] == [1] * 50 + [2] * 50 + [3] * 50


def test_files_stand_one_behind_the_other(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", line(1) + line(2)) + write(tmp_path / "b", line(3) + line(4, offset=0))
    assert [(record.offset, record.ts) for record in records(paths)] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_each_stage_has_its_own_input(tmp_path: Path) -> None:
    digest = Digest("node", 0, 2, 1, "ab")
    data = line(1, offset=0) + line(2, offset=0, stage="cluster") + render_digest(digest) + line(3, offset=1)
    paths = write(tmp_path / "a", data)
    assert [record.ts for record in records(paths)] == [1, 3]
    assert [record.ts for record in records(paths, "cluster")] == [2]
    assert Recordings(paths).contents() == ({"node", "cluster"}, [digest])


BAD = [
    b"no JSON at all\n",
    b'{"ts": 5, "kind": "tick"}\n',
    b'{"ts": "soon", "kind": "tick", "value": {}}\n',
    b'{"kind": "tick", "value": {}}\n',
    b'{"ts": 1e300, "kind": "tick", "value": {}}\n',
    b'{"ts": 5, "kind": "telemetry", "value": 7}\n',
    b'{"ts": 5, "kind": "telemetry", "value": {"node": "n", "seq": 1, "gpus": [{"uuid": "G"}], "ticks": [1, 2],'
    b' "fields": {"150": [1, 2, 3]}}}\n',
    b'{"ts": 5, "kind": "x", "raw": "not base64!"}\n',
    b"[" * 100_000 + b"\n",
    b"\xff\xfe\x00\n",
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_bad_line_is_handed_on_and_nothing_beside_it_is_lost(tmp_path: Path, bad: bytes) -> None:
    found = records(write(tmp_path / "a", bad + line(5) + bad + line(6)))
    assert [(record.offset, record.ts) for record in found] == [(0, 5), (1, 5), (2, 5), (3, 6)]
    assert [(record.kind, record.value) for record in found[::2]] == [("unreadable", bad)] * 2
    assert [record.kind for record in found[1::2]] == ["tick"] * 2


@pytest.mark.parametrize("end", [b'{"ts": 9, "no', b"\n\n", b""])
def test_last_line_that_is_cut_off_is_reported(tmp_path: Path, end: bytes) -> None:
    recordings = Recordings(write(tmp_path / "a", line(5) + end))
    assert len(list(recordings.records("node"))) == 1
    cut_off = f"{tmp_path}/a: the last line is cut off and left out"
    assert recordings.notes == ([cut_off] if end.startswith(b"{") else [])


def test_last_line_may_lack_its_newline(tmp_path: Path) -> None:
    recordings = Recordings(write(tmp_path / "a", line(5) + line(6).strip()))
    assert len(list(recordings.records("node"))) == 2
    assert recordings.notes == []


def test_zstd_file_that_is_cut_off_or_damaged_is_reported(tmp_path: Path) -> None:
    frame = zstandard.ZstdCompressor().compress(b"".join(line(n) for n in range(1, 500)))
    (tmp_path / "a.zst").write_bytes(frame + frame[:-100])
    recordings = Recordings([tmp_path / "a.zst"])
    assert len(list(recordings.records("node"))) >= 499
    assert recordings.notes[-1] == f"{tmp_path}/a.zst: cannot be read to its end: the last zstd frame is cut off"
    (tmp_path / "a.zst").write_bytes(frame + b"rubbish")
    recordings = Recordings([tmp_path / "a.zst"])
    assert len(list(recordings.records("node"))) == 499
    assert "cannot be read to its end: zstd decompressor error" in recordings.notes[0]


def test_missing_file_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="cannot read the recording: No such file"):
        records([tmp_path / "none"])


@pytest.mark.parametrize(
    "record",
    [
        Record(3, 5, "n", "tick", b'{"ts":5}'),
        Record(3, 5, "n", "tick", b'{ "ts" : 5 }'),  # other bytes than we would write
        Record(3, 5, "n", "telemetry", b"\x00\xffno frame"),
        Record(3, 5, "n", "unreadable", b"no JSON\n"),
        Record(3, 5, "", "empty", b""),
        Record(3, 5, "n", "null", b"null"),
    ],
    ids=lambda record: record.kind,
)
def test_any_record_comes_back_as_it_was(tmp_path: Path, record: Record) -> None:
    assert records(write(tmp_path / "a", render("node", record))) == [record]


def test_outputs_are_handed_over_and_fed_to_the_next_stage() -> None:
    async def main() -> None:
        handed: list[Output] = []
        given = [Record(n, n, "k", "x", b"") for n in range(3)]
        log = ArchiveLog({FIRST: given}, {SECOND: [FIRST]}, lambda part, outputs: handed.extend(outputs))
        assert await log.restore(FIRST) == (None, BEFORE_ALL)
        assert [batch async for batch in log.read(FIRST, 0)] == [given]

        reader = log.read(SECOND, 0)
        outputs = [
            Output("fleet-events", "k", "a", b"1", 9, 0, 0),
            Output("scores", "k", "b", b"2", 9, 0, 1),
            Output("fleet-events", "k", "c", b"3", 9, 2, 0),
        ]
        await log.commit(FIRST, outputs[:1], 1)
        (first,) = await anext(reader)
        assert first == Record(0, 9, "k", "a", b"1", ("first", 0, 0, 0, 0))
        await log.commit(FIRST, outputs[1:], 3)
        log.complete(FIRST)
        (second,) = await anext(reader)
        assert (second.offset, second.value) == (1, b"3")
        assert [batch async for batch in reader] == []
        assert handed == outputs

    asyncio.run(main())


def test_what_several_parts_say_is_merged_by_time_whoever_runs_ahead() -> None:
    """In each order of arrival the same records come in the same order, and none before its time is sure."""
    writers = [Part("first", "observations", partition) for partition in range(3)]
    said = [
        [output("a", 10), output("b", 30), output("c", 20)],  # a clock that falls back overtakes nobody
        [output("d", 10), output("e", 40)],
        [],
    ]

    async def merged(order: Sequence[int]) -> list[str]:
        log = ArchiveLog({}, {SECOND: writers}, lambda part, outputs: None)
        reader = log.read(SECOND, 0)
        for at in order:
            for each in said[at]:
                await log.commit(writers[at], [each], 0)
            log.complete(writers[at])
        found = [record async for batch in reader for record in batch]
        assert [record.offset for record in found] == list(range(5))
        return [record.key for record in found]

    for order in permutations(range(3)):
        assert asyncio.run(merged(order)) == ["a", "d", "b", "c", "e"]


def test_merged_reader_waits_for_those_who_may_still_say_something_earlier() -> None:
    async def main() -> None:
        writers = [Part("first", "observations", partition) for partition in range(2)]
        log = ArchiveLog({}, {SECOND: writers}, lambda part, outputs: None)
        batch = asyncio.ensure_future(anext(log.read(SECOND, 0)))
        await log.commit(writers[0], [output("late", 20)], 0)
        await asyncio.sleep(0.01)
        assert not batch.done()
        await log.commit(writers[1], [output("early", 10)], 0)
        assert [record.key for record in await batch] == ["early"]

    asyncio.run(main())


def test_part_that_does_not_begin_at_the_beginning_gets_its_state() -> None:
    async def main() -> None:
        start = Start(Checkpoint(7, b"state"), 6)
        log = ArchiveLog({}, {SECOND: [FIRST]}, lambda part, outputs: None, {FIRST: start, SECOND: start})
        assert await log.restore(FIRST) == (Checkpoint(7, b"state"), 6)
        await log.commit(FIRST, [output("a", 1)], 8)
        (record,) = await anext(log.read(SECOND, 7))
        assert record.offset == 7, "what it is fed is numbered on"

    asyncio.run(main())


def output(key: str, ts: int) -> Output:
    return Output("fleet-events", key, "x", b"", ts, ts, 0)
