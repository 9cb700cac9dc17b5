"""The journal: what it said it remembers it remembers, whatever the file looks like after a crash."""

from __future__ import annotations

import os
import zlib

import msgspec
import pytest

from pipeline.node_commands import journal
from pipeline.node_commands.journal import ACCEPTED, FINISHED, STARTED, Entry, Journal
from schemas import records

TS = 1_767_225_600_000


def entry(number, state=ACCEPTED, reported=False, reason=""):
    command = records.Command(ts=TS + number, node="n1", id=f"c{number}", action="reset", sequence=number)
    result = None
    if state == FINISHED:
        result = records.CommandResult(ts=TS, node="n1", id=f"c{number}", action="reset", state="done", reason=reason)
    return Entry(command=command, offset=number, state=state, result=result, reported=reported)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "commands.journal"


def again(path):
    found = Journal(path)
    found.close()
    return found


def test_it_remembers_the_newest_state_of_each_command_and_the_highest_sequence(path):
    first = Journal(path)
    for each in (entry(5), entry(3), entry(5, STARTED), entry(3, FINISHED, reported=True)):
        first.put(each)
    first.close()
    found = again(path)
    assert {id_: each.state for id_, each in found.entries.items()} == {"c5": STARTED, "c3": FINISHED}
    assert found.entries["c3"] == entry(3, FINISHED, reported=True)
    assert (found.heard, found.newest_ms, found.trouble) == (5, TS + 5, "")


def test_each_prefix_of_the_file_is_a_moment_of_the_past_and_goes_on(path):
    first = Journal(path)
    states = [{}]
    sizes = [0]
    for each in (entry(1), entry(1, STARTED), entry(2), entry(1, FINISHED, reported=True)):
        first.put(each)
        sizes.append(path.stat().st_size)
        states.append({id_: known.state for id_, known in first.entries.items()})
    first.close()
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        found = Journal(path)
        whole = max(at for at, size in enumerate(sizes) if size <= cut)
        assert {id_: known.state for id_, known in found.entries.items()} == states[whole]
        assert found.trouble == ""
        found.put(entry(9))
        found.close()
        assert again(path).entries["c9"] == entry(9)


def test_damage_before_the_end_may_hide_a_step_so_nothing_is_remembered_or_done_any_more(path):
    first = Journal(path)
    for number in (1, 2, 3):
        first.put(entry(number))
    first.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = Journal(path)
    assert "damaged at byte" in found.trouble
    assert "move the file away" in found.trouble
    with pytest.raises(OSError, match="damaged"):
        found.put(entry(4))
    found.close()
    assert path.read_bytes() == data


def test_it_stays_small_and_forgets_only_what_is_finished_and_reported(path, monkeypatch):
    monkeypatch.setattr(journal, "KEPT", 4)
    monkeypatch.setattr(journal, "LINES_MAX", 20)
    first = Journal(path)
    first.put(entry(1))
    first.put(entry(2, FINISHED))
    sizes = set()
    for number in range(3, 200):
        first.put(entry(number, FINISHED, reported=True))
        sizes.add(path.stat().st_size)
    first.close()
    found = again(path)
    assert list(found.entries) == ["c1", "c2", "c196", "c197", "c198", "c199"]
    assert (found.heard, found.newest_ms) == (199, TS + 199)
    assert max(sizes) < 40 * len(data_of(entry(199, FINISHED, reported=True)))


def data_of(each):
    return msgspec.json.encode(each)


def test_what_was_refused_for_being_out_of_all_order_shuts_out_nothing(path):
    first = Journal(path)
    first.put(entry(7, FINISHED))
    first.put(entry(10**15, FINISHED, reason="sequence"))
    first.put(entry(10**14, FINISHED, reason="clock"))
    assert (first.heard, first.newest_ms) == (7, TS + 7)
    first.close()
    assert (again(path).heard, again(path).newest_ms) == (7, TS + 7)


def test_without_a_disk_or_with_a_full_one_it_says_why(path, monkeypatch):
    assert Journal(None).trouble == "there is no disk to remember commands on"
    full = Journal(path)

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(OSError, match="No space"):
        full.put(entry(1))
    monkeypatch.undo()
    assert full.trouble == f"{path}: no space left on device"
    with pytest.raises(OSError, match="no space"):
        full.put(entry(2))
    full.close()


def test_a_line_is_its_checksum_and_json(path):
    first = Journal(path)
    first.put(entry(1))
    first.close()
    checksum, _, text = path.read_bytes().rstrip(b"\n").partition(b" ")
    assert int(checksum, 16) == zlib.crc32(text)
    assert msgspec.json.decode(text)["entry"]["command"]["id"] == "c1"
