"""The spool on disk: what was appended comes back in order, once, whatever ended the process that wrote it."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageProblem
from pipeline.log import Entry
from pipeline.spool import segment as segment_module
from pipeline.spool.lane import FAULTS, TELEMETRY
from pipeline.spool.shelf import MEMORY_BYTES, RETRY_S
from pipeline.spool.store import OWN, Store

LIMIT = 1 << 20


def opened(directory, *, limit=LIMIT, boot="boot-1", now_ms=1_000, clock=lambda: 0.0):
    return Store(directory, limit, boot=boot, now_ms=now_ms, clock=clock)


def put(store, *values, lane=FAULTS, source="s", position=None, urgent=False, counts=None):
    entries = [Entry("n1", "kernel", value.encode()) for value in values]
    given = {lane: {"n1": counts}} if counts else None
    store.append({lane: entries}, source, position, counts=given, urgent=urgent)


def rest(store, lane=FAULTS):
    """All that waits, acknowledged as it is read."""
    found = []
    while batch := store.peek(lane, 1):
        found += [entry.value.decode() for entry in batch.entries]
        store.ack(lane, batch.end)
    return found


def killed(store):
    """The process is gone: files are as they were written, and the lock is free."""
    for lane in (FAULTS, TELEMETRY):
        for segment in store.lane(lane).segments:
            segment.close()
    store._leave()


def newest(directory, lane=FAULTS):
    return max(directory.glob(f"{lane}-*.spool"))


def test_what_was_appended_is_sent_in_order_and_not_again(tmp_path):
    store = opened(tmp_path)
    put(store, "a", "b")
    put(store, "c")
    put(store, "t", lane=TELEMETRY)
    assert store.waiting == 4
    assert rest(store) == ["a", "b", "c"]
    assert rest(store, TELEMETRY) == ["t"]
    assert store.waiting == 0


def test_entries_come_back_as_they_were_given(tmp_path):
    entries = [Entry("n1", "kernel", b"\x00\xff", 17, 3), Entry("n\u00e4", "inventory", b"")]
    store = opened(tmp_path)
    store.append({FAULTS: entries})
    killed(store)
    batch = opened(tmp_path).peek(FAULTS, 1)
    assert batch is not None
    assert batch.entries == entries


def test_after_a_kill_it_goes_on_behind_what_was_acknowledged(tmp_path):
    store = opened(tmp_path)
    put(store, "a")
    put(store, "b", position="2")
    batch = store.peek(FAULTS, 1)
    assert batch
    store.ack(FAULTS, batch.end)
    killed(store)
    again = opened(tmp_path)
    assert rest(again) == ["b"]
    assert again.position("s") == "2"


def test_what_is_peeked_and_not_acknowledged_comes_again(tmp_path):
    store = opened(tmp_path)
    put(store, "a")
    assert store.peek(FAULTS, 1)
    killed(store)
    assert rest(opened(tmp_path)) == ["a"]


def test_the_position_outlives_the_records_that_it_came_with(tmp_path):
    for number in range(5):
        store = opened(tmp_path)
        if number == 0:
            put(store, "a", position="behind a")
        rest(store)
        store.close()
    assert opened(tmp_path).position("s") == "behind a"
    assert len(list(tmp_path.glob("*.spool"))) == 2, "one for each lane"


def test_a_position_without_records_is_remembered(tmp_path):
    store = opened(tmp_path)
    store.append({}, "s", "7")
    killed(store)
    again = opened(tmp_path)
    assert (again.position("s"), again.waiting) == ("7", 0)


def test_a_source_that_says_both_has_its_position_with_the_last_of_it(tmp_path):
    store = opened(tmp_path)
    store.append({FAULTS: [Entry("n", "kernel", b"f")], TELEMETRY: [Entry("n", "telemetry", b"t")]}, "s", "1")
    killed(store)
    newest(tmp_path).write_bytes(newest(tmp_path).read_bytes()[:-1])
    again = opened(tmp_path)
    assert again.position("s") is None, "the fault is read again"
    assert rest(again, TELEMETRY) == ["t"]


def test_numbers_go_on_while_something_waits(tmp_path):
    store = opened(tmp_path, now_ms=1_000)
    put(store, "a", counts=7)
    killed(store)
    again = opened(tmp_path, now_ms=2_000)
    assert again.epoch == 1_000
    assert again.counts == {FAULTS: {"n1": 7}, TELEMETRY: {}}


@pytest.mark.parametrize(
    ("boot", "orderly", "goes_on"), [("boot-1", False, True), ("boot-2", True, True), ("boot-2", False, False)]
)
def test_after_a_crash_of_the_machine_they_begin_anew(tmp_path, boot, orderly, goes_on):
    """What had been sent may be missing on disk: its numbers would be given twice."""
    store = opened(tmp_path, now_ms=1_000)
    put(store, "a", counts=7)
    if orderly:
        store.close()
    else:
        killed(store)
    again = opened(tmp_path, boot=boot, now_ms=2_000)
    assert (again.epoch, again.counts[FAULTS]) == ((1_000, {"n1": 7}) if goes_on else (2_000, {}))
    assert rest(again) == ["a"]


def test_they_begin_anew_when_nothing_waits_and_never_below_the_last_ones(tmp_path):
    store = opened(tmp_path, now_ms=5_000)
    put(store, "a", counts=7)
    rest(store)
    killed(store)
    again = opened(tmp_path, now_ms=4_000)  # the clock has stepped back
    assert again.epoch == 5_001
    assert again.counts[FAULTS] == {}


def test_a_torn_tail_is_cut_off(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    store = opened(tmp_path)
    put(store, "a", position="1")
    put(store, "b", position="2")
    killed(store)
    path = newest(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    again = opened(tmp_path)
    assert "cut off behind its last whole record" in caplog.text
    assert again.position("s") == "1", "b is read again from its source"
    put(again, "c")
    assert rest(again) == ["a", "c"]
    assert again.lost == 0


def test_a_damaged_middle_is_skipped_and_counted_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    store = opened(tmp_path)
    for values in (["a"], ["b-damaged", "b2"], ["c"]):
        put(store, *values)
    killed(store)
    path = newest(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"damaged", b"DAMAGED"))
    path.with_suffix(".half").write_bytes(b"an earlier try")
    again = opened(tmp_path, now_ms=2_000)
    assert "damaged; what can be read of it is kept" in caplog.text
    assert again.epoch == 2_000, "nobody knows which numbers were given"
    assert (again.lost, again.untold) == (2, 2)
    killed(again)
    again = opened(tmp_path)
    assert again.lost == 2
    assert rest(again) == ["a", "c"]
    assert not list(tmp_path.glob("*.half"))


def test_a_segment_whose_beginning_is_damaged_keeps_the_rest(tmp_path):
    store = opened(tmp_path)
    put(store, "a", position="1")
    killed(store)
    path = newest(tmp_path)
    path.write_bytes(b"\0" * 8 + path.read_bytes()[8:])
    again = opened(tmp_path)
    assert (rest(again), again.position("s")) == (["a"], "1")


def test_damage_that_shows_only_when_it_is_read_is_counted_and_passed(tmp_path):
    store = opened(tmp_path)
    put(store, "a", "b")
    path = newest(tmp_path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert rest(store) == []
    assert store.lost == 2
    put(store, "c")
    assert store.waiting == 1


def test_what_was_told_of_a_loss_is_not_told_again(tmp_path):
    store = opened(tmp_path)
    store.lost = 5
    store.append({FAULTS: [Entry("n", "source", b"lost 5")]}, OWN, "5")
    assert store.untold == 0
    killed(store)
    assert opened(tmp_path).untold == 0


def test_progress_that_cannot_be_read_sends_again_rather_than_too_little(tmp_path):
    store = opened(tmp_path)
    put(store, "a")
    put(store, "b")
    batch = store.peek(FAULTS, 1)
    assert batch
    store.ack(FAULTS, batch.end)
    killed(store)
    (tmp_path / "progress").write_bytes(b"\xff" * 40)
    assert rest(opened(tmp_path)) == ["a", "b"]


def frame(number):
    return f"{number:05d}".ljust(2_000, "t")


def test_a_full_spool_drops_the_oldest_telemetry_and_counts_it(tmp_path):
    store = opened(tmp_path)
    for number in range(50):
        put(store, f"fault {number}".ljust(500))
    for number in range(1_000):
        put(store, frame(number), lane=TELEMETRY)
        assert store.size <= LIMIT
    kept = [int(value[:5]) for value in rest(store, TELEMETRY)]
    assert kept == list(range(1_000 - len(kept), 1_000)), "the newest, without a hole"
    assert store.lost == 1_000 - len(kept)
    assert len(kept) > 400
    assert len(rest(store)) == 50


def test_telemetry_that_tells_of_faults_goes_after_what_is_quiet(tmp_path):
    store = opened(tmp_path)
    for number in range(1_000):
        put(store, frame(number), lane=TELEMETRY, urgent=number == 3)
    kept = [int(value[:5]) for value in rest(store, TELEMETRY)]
    assert 3 in kept
    assert kept == sorted(kept)
    assert store.lost == 1_000 - len(kept)


def test_faults_go_last(tmp_path):
    store = opened(tmp_path)
    for number in range(100):
        put(store, frame(number), lane=TELEMETRY)
    for number in range(1_000):
        put(store, frame(number))
        assert store.size <= LIMIT
    assert rest(store, TELEMETRY) == []
    kept = [int(value[:5]) for value in rest(store)]
    assert kept == list(range(1_000 - len(kept), 1_000))
    assert store.lost == 1_100 - len(kept)


def test_losses_survive_a_kill(tmp_path):
    store = opened(tmp_path)
    for number in range(1_000):
        put(store, frame(number), lane=TELEMETRY)
    lost = store.lost
    killed(store)
    assert opened(tmp_path).untold == lost > 0


def test_two_agents_do_not_share_a_spool(tmp_path):
    store = opened(tmp_path)
    with pytest.raises(UsageProblem, match=f"^{tmp_path}: another agent uses this spool"):
        opened(tmp_path)
    store.close()
    opened(tmp_path).close()


def test_a_directory_that_cannot_be_made_leaves_the_agent_in_memory_with_one_line(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = opened(tmp_path / "file" / "spool")
    assert len(caplog.messages) == 1
    assert store.trouble == (
        f"{tmp_path}/file/spool: not a directory; what is seen stays in memory, 4 MiB of it at most"
    )
    put(store, "a")
    assert rest(store) == ["a"]
    for number in range(4_000):
        put(store, frame(number), lane=TELEMETRY)
        assert store.size <= MEMORY_BYTES
    assert store.lost > 0
    store.close()


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while `disk.full`; it takes the first half of what is written to it then."""

    class Disk:
        full = False

    real = os.write

    def write(file, data):
        if not Disk.full:
            return real(file, data)
        if len(data) > 1:
            return real(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segment_module.os, "write", write)
    return Disk


def test_a_full_disk_is_said_once_lasts_in_memory_and_is_left_again(tmp_path, caplog, disk):
    now = [0.0]
    store = opened(tmp_path, clock=lambda: now[0])
    put(store, "a", position="1")
    disk.full = True
    put(store, "b", position="2")
    put(store, "c", position="3")
    put(store, "t", lane=TELEMETRY)
    assert "no space left on device; what is seen stays in memory" in store.trouble
    assert len(caplog.messages) == 1
    now[0] += RETRY_S
    put(store, "d", position="4")
    assert store.trouble
    disk.full = False
    now[0] += RETRY_S
    put(store, "e", position="5")
    assert store.trouble == ""
    killed(store)
    again = opened(tmp_path, now_ms=2_000)
    assert again.position("s") == "5"
    assert again.epoch == 1_000, "all numbers are on disk again"
    assert rest(again) == ["a", "b", "c", "d", "e"]
    assert rest(again, TELEMETRY) == ["t"]


def test_while_the_disk_is_full_a_kill_loses_no_more_than_the_source_can_say_again(tmp_path, disk):
    store = opened(tmp_path)
    put(store, "a", position="1")
    disk.full = True
    put(store, "b", position="2")
    assert rest(store) == ["a", "b"]
    killed(store)
    disk.full = False
    again = opened(tmp_path, now_ms=2_000)
    assert again.epoch == 2_000, "a number that was sent from memory is not given twice"
    assert (rest(again), again.position("s")) == ([], "1"), "b is said again"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([FAULTS, TELEMETRY]), st.integers(1, 3)),
        st.tuples(st.just("ack"), st.sampled_from([FAULTS, TELEMETRY]), st.integers(1, 60)),
        st.tuples(st.just("kill"), st.just(""), st.just(0)),
        st.tuples(st.just("close"), st.just(""), st.just(0)),
        st.tuples(st.just("cut"), st.sampled_from([FAULTS, TELEMETRY]), st.integers(1, 200)),
        st.tuples(st.sampled_from(["full", "room"]), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_what_was_said_comes_back_in_order_from_where_it_was_acknowledged(steps):
    """A cut is a machine that has lost power: the end of a lane was not durable yet, what is left is a prefix.

    So it is where the disk was full when the agent died: the rest was in memory, and its source says it again.
    """
    with tempfile.TemporaryDirectory() as directory:
        course = Course(Path(directory))
        with mock.patch.object(segment_module, "_write", course.write):
            course.run(steps)


class Course:
    def __init__(self, directory):
        self.directory = directory
        self.full, self.now, self.real = False, 0.0, segment_module._write
        self.store = self.opened()
        self.said = {FAULTS: [], TELEMETRY: []}
        self.acked = {FAULTS: 0, TELEMETRY: 0}

    def opened(self):
        return opened(self.directory, clock=lambda: self.now)

    def write(self, file, data, at):
        if self.full:
            raise OSError(28, "No space left on device")
        self.real(file, data, at)

    def run(self, steps):
        for number, (what, lane, size) in enumerate(steps):
            if what == "append":
                values = [f"{number}/{at}" for at in range(size)]
                put(self.store, *values, lane=lane, source=lane, position=values[-1])
                self.said[lane] += values
            elif what == "ack":
                self.ack(lane, size)
            elif what in ("full", "room"):
                self.full = what == "full"
                self.now += RETRY_S
            else:
                self.end(what, lane, size)
        for lane, values in self.said.items():
            assert rest(self.store, lane) == values[self.acked[lane] :]
        assert self.store.lost == 0
        self.store.close()

    def ack(self, lane, size):
        if batch := self.store.peek(lane, size):
            values = [entry.value.decode() for entry in batch.entries]
            assert values == self.said[lane][self.acked[lane] :][: len(values)]
            self.store.ack(lane, batch.end)
            self.acked[lane] += len(values)

    def end(self, what, lane, size):
        in_memory = bool(self.store.trouble)
        if what == "close":
            self.store.close()
        else:
            killed(self.store)
        if what == "cut" and not in_memory:  # else its newest file is old, and durable
            path = newest(self.directory, lane)
            os.truncate(path, max(path.stat().st_size - size, 0))
        self.store = self.opened()
        for each in self.said if in_memory else [lane] if what == "cut" else []:
            position, values = self.store.position(each), self.said[each]
            kept = values.index(position) + 1 if position else 0
            self.said[each] = values[: max(kept, self.acked[each])]
