from __future__ import annotations

import asyncio
import json

import pytest

from sinks.tickets.file import FileTracker, file_name
from sinks.tickets.text import markdown
from sinks.tickets.tracker import Later, Ref
from tests.sinks.tickets.test_trackers import CLOSED, TICKET


def test_a_ticket_is_two_files_that_are_replaced_and_stay(tmp_path):
    tracker = FileTracker(tmp_path / "tickets")
    assert asyncio.run(tracker.find(TICKET)) is None
    ref = asyncio.run(tracker.create(TICKET, 1))
    assert asyncio.run(tracker.find(TICKET)) == ref
    asyncio.run(tracker.close(ref, CLOSED, TICKET, 2))
    assert asyncio.run(tracker.find(TICKET)) == Ref(ref.key, False)
    name = "b1-0000-1b-00-memory-1-" + TICKET.correlation[-8:]
    assert sorted(path.name for path in (tmp_path / "tickets").iterdir()) == [f"{name}.json", f"{name}.md"]
    assert (tmp_path / "tickets" / f"{name}.md").read_text("utf-8") == markdown(CLOSED)
    assert json.loads((tmp_path / "tickets" / f"{name}.json").read_text("utf-8"))["closed_because"] == "restored by ann"


def test_what_a_crash_left_half_written_is_no_ticket(tmp_path):
    (tmp_path / f".{file_name(TICKET)}.json.new").write_text("{")
    tracker = FileTracker(tmp_path)
    assert asyncio.run(tracker.find(TICKET)) is None
    asyncio.run(tracker.create(TICKET, 1))
    assert not list(tmp_path.glob(".*"))


def test_an_id_that_looks_like_a_path_stays_in_the_directory(tmp_path):
    import msgspec

    odd = msgspec.structs.replace(TICKET, id="../../etc/passwd")
    asyncio.run(FileTracker(tmp_path / "t").create(odd, 1))
    assert len(list((tmp_path / "t").iterdir())) == 2
    assert file_name(odd).startswith("etc-passwd-")


def test_a_directory_that_cannot_be_made_is_waited_for(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Later, match="file/t: Not a directory"):
        asyncio.run(FileTracker(tmp_path / "file" / "t").create(TICKET, 1))
