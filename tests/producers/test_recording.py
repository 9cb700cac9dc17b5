from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.fleet import Fleet
from producers.kit import check_source
from producers.recording import LINES_PER_READ, RecordingSource
from producers.source import Observed, SourceError
from schemas import recording
from schemas.log import Record

TICK = b'{"ts":%d,"node":"n","kind":"tick","value":{"ts":1,"node":"n"}}\n'


def write(path: Path, *lines: bytes) -> Path:
    data = b"".join(lines)
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


def said(path: Path) -> list[Observed]:
    return check_source(lambda: RecordingSource(path))


@pytest.mark.parametrize("name", ["fleet.jsonl", "fleet.jsonl.zst"])
def test_what_was_recorded_comes_back_equal_and_resumes_anywhere(tmp_path: Path, name: str) -> None:
    fleet = Fleet(24)
    spoken = [observed for _ in range(300) for observed in fleet.advance()]
    assert len(spoken) > 2 * LINES_PER_READ
    lines = [recording.render("node", Record(0, one.ts or 0, one.node, one.kind, one.value)) for one in spoken]
    assert said(write(tmp_path / name, *lines)) == spoken


def test_input_of_other_stages_digests_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl",
        b'{"ts":1,"stage":"cluster","node":"c","kind":"tick","value":{}}\n',
        b"\n",
        recording.render_digest(recording.Digest("node", 0, 1, 1, "00")),
        TICK % 5,
    )
    assert [(one.node, one.ts) for one in said(path)] == [("n", 5)]


def test_a_bad_line_becomes_unreadable_at_its_neighbours_time(tmp_path: Path) -> None:
    cut = b'{"ts":9,"node":"n","ki'
    path = write(tmp_path / "r.jsonl", b"first\n", TICK % 5, b"second\n", TICK % 7, cut)
    assert [(one.kind, one.ts) for one in said(path)] == [
        ("unreadable", 5),
        ("tick", 5),
        ("unreadable", 5),
        ("tick", 7),
        ("unreadable", 7),
    ]
    assert said(path)[-1].value == cut


def test_a_frame_whose_columns_disagree_is_unreadable_too(tmp_path: Path) -> None:
    frame = (
        b'{"ts":6,"node":"n","kind":"telemetry","value":{"node":"n","seq":1,"gpus":[{"uuid":"G"}],'
        b'"ticks":[1],"fields":{"150":[1,2,3]}}}\n'
    )
    assert said(write(tmp_path / "r.jsonl", TICK % 5, frame)) == [
        *said(write(tmp_path / "s.jsonl", TICK % 5)),
        Observed("n", "unreadable", frame, 5),
    ]


def test_values_that_are_no_json_stand_as_base64(tmp_path: Path) -> None:
    line = b'{"ts":5,"node":"n","kind":"x","raw":"%s"}\n' % base64.b64encode(b"\xff\x00")
    assert said(write(tmp_path / "r.jsonl", line)) == [Observed("n", "x", b"\xff\x00", 5)]


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=20))
def test_any_bytes_end_as_dead_letters_and_hide_nothing(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[bytes]
) -> None:
    path = write(tmp_path_factory.mktemp("r") / "r.jsonl", TICK % 5, *garbage, TICK % 6)
    observed = said(path)
    assert [one.ts for one in observed if one.kind == "tick"] == [5, 6]
    assert [one.value for one in observed if one.kind == "unreadable"] == [line for line in garbage if line.strip()]


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.jsonl: cannot read the recording: No such file"):
        asyncio.run(RecordingSource(tmp_path / "none.jsonl").open(None))


def test_a_damaged_archive_is_an_error_after_its_good_part(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl.zst", TICK % 5)
    path.write_bytes(path.read_bytes() + b"no zstd at all, but longer than a header")

    async def read() -> None:
        source = RecordingSource(path)
        await source.open(None)
        await source.read()

    with pytest.raises(SourceError, match="cannot read the recording any further"):
        asyncio.run(read())
