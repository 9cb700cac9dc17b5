"""The desk on a clock of ours: outages, refusals, and one ticket whatever crashes in between."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import topics
from sinks.tickets.desk import BACKOFF_S, GONE, UPDATE_S, VANISHED_S, Desk
from sinks.tickets.memory import CLOSED, OPEN, CannotRemember, Memory
from sinks.tickets.tracker import Capabilities, Later, Refused
from sinks.tickets.view import View
from tests.sinks.tickets.world import ID, System, T, Topics

NAME = ("c1", ID)
OTHER = "b1/0000:02:00/bus/1767603600000"


OPENED = []


def volatile():
    OPENED.append(Memory(None))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    while OPENED:
        OPENED.pop().close()


class Crash(BaseException):
    """kill -9, as far as the code can tell."""


class Process:
    """One life of the sink: reads the log from its beginning, and goes on with what is added."""

    def __init__(self, of, system, memory=None, now=T / 1000):
        self.of, self.system, self.now = of, system, now
        self.memory = memory or volatile()
        self.view = View()
        self.read = 0
        self.desk = Desk(self.view, system, self.memory, lambda: self.now, Random(1), self.pace)
        self.catch_up()
        self.desk.begin()

    async def pace(self):
        pass

    def catch_up(self, log=None):
        for topic, record in (log or self.of.log)[self.read :]:
            self.view.take(topic, record)
        self.read = len(self.of.log)

    def work(self, until_s=0.0, steps=10_000):
        """All that is due within so many seconds, waiting where it is to be waited."""
        end = self.now + until_s
        self.catch_up()
        for _ in range(steps):
            wait_s = asyncio.run(self.desk.step())
            if wait_s is None or self.now + wait_s > end:
                break
            self.now += wait_s
        else:
            raise AssertionError("it does not come to rest")
        self.now = end


@pytest.fixture
def of():
    return Topics()


@pytest.fixture
def system():
    return System()


def test_a_ticket_is_made_told_of_changes_and_closed(of, system):
    process = Process(of, system)
    of.case()
    process.work()
    assert system.states() == {ID: [True]}
    of.case(state="drained", action="evict-permanently", after_s=30)
    process.work()
    (ticket, _) = system.tickets["INC0"]
    assert ticket.action == "evict-permanently"
    of.case(state="in-service", detail="restored by ann", after_s=60)
    process.work()
    (ticket, is_open) = system.tickets["INC0"]
    assert (is_open, ticket.closed_because) == (False, "restored by ann")
    assert [line.text for line in ticket.tried][1:] == [
        "drained: Xid 48: double-bit ECC error",
        "in-service: restored by ann",
    ]
    assert system.calls == ["find", "create", "update", "close"]


def test_it_is_opened_again_when_the_incident_comes_back(of, system):
    process = Process(of, system)
    for opened, state in ((T, "draining"), (T, "in-service"), (T + 9000, "draining")):
        of.case(state=state, opened=opened)
        process.work()
    assert system.states() == {ID: [True]}
    assert system.calls[-1] == "reopen"


def test_more_evidence_waits_a_while_and_a_graver_action_does_not(of, system):
    process = Process(of, system)
    of.case()
    process.work(1.0)
    of.incident()
    process.work(UPDATE_S - 2.0)
    assert system.calls == ["find", "create"]
    process.work(2.0)
    assert system.calls == ["find", "create", "update"]
    of.case(action="remove-node", after_s=1)
    process.work()
    assert system.calls == ["find", "create", "update", "update"]


def test_at_the_end_nothing_waits_for_more(of, system):
    process = Process(of, system)
    of.case()
    process.work(1.0)
    of.incident()
    process.work(1.0)
    process.desk.end()
    process.work()
    assert system.calls == ["find", "create", "update"]
    assert system.tickets["INC0"][0].root == "xid_48"


def test_what_does_not_change_is_not_told_again(of, system):
    process = Process(of, system)
    of.case()
    process.work()
    of.log.append(of.log[-1])
    process.work(86_400.0)
    assert Process(of, system, process.memory).work(86_400.0) is None
    assert system.calls == ["find", "create"]


def test_what_is_kept_alive_is_told_again_and_again_until_it_is_over(of, system):
    system.capabilities = Capabilities(finds=False, alive_s=240.0)
    process = Process(of, system)
    of.case()
    process.work(1000.0)
    assert system.calls == ["create"] + 4 * ["update"]
    of.case(state="in-service")
    process.work(1000.0)
    assert system.calls[5:] == ["close"]


def test_an_outage_of_a_day_loses_and_doubles_nothing_and_is_said_once(of, system, caplog):
    process = Process(of, system)
    of.case(gpu=1)
    process.work()
    system.fails = [Later("ticket system is away")] * 10_000
    of.case(gpu=1, state="in-service", after_s=1)
    process.work(60.0)
    of.case(gpu=2, incident=OTHER, after_s=2)
    process.work(43_200.0)
    of.case(gpu=2, incident=OTHER, state="in-service", after_s=3)
    of.case(gpu=3, incident="another", after_s=4)
    process.work(43_200.0)
    assert process.desk.stats().oldest_unsent_s > 86_000
    assert process.desk.stats().outage == "ticket system is away"
    calls = len(system.calls)
    assert 86_400 / BACKOFF_S[1] <= calls < 3 * 86_400 / BACKOFF_S[1]
    system.fails = []
    process.work(2 * BACKOFF_S[1])
    assert system.states() == {ID: [False], OTHER: [False], "another": [True]}, "what came and went has its ticket, too"
    assert process.desk.stats()[2:] == (0, 0, 0, 0.0, "")
    assert [record.getMessage() for record in caplog.records] == [
        "tickets wait: ticket system is away",
        "tickets go on",
    ]


def test_it_waits_for_as_long_as_it_is_asked_to(of, system):
    process = Process(of, system)
    system.fails = [Later("429", 120.0)]
    of.case()
    process.work(119.0)
    assert system.calls == ["find"]
    process.work(2.0)
    assert system.calls == ["find", "find", "create"]


def test_a_ticket_that_always_breaks_the_server_does_not_keep_others_waiting(of, system):
    class Breaks(System):
        async def create(self, ticket, revision):
            if ticket.id == ID:
                raise Later("500")
            return await super().create(ticket, revision)

    system = Breaks()
    process = Process(of, system)
    of.case(gpu=1)
    for gpu in range(2, 9):
        of.case(gpu=gpu, incident=f"i{gpu}")
    process.work(3600.0)
    assert system.states() == {f"i{gpu}": [True] for gpu in range(2, 9)}


def test_what_is_refused_is_left_out_until_it_changes_and_the_rest_goes_on(of, system, caplog):
    process = Process(of, system)
    system.fails = [None, Refused("400 Bad Request: field `x` is required"), None, None]
    system.fails += 23 * [None, Refused("400 Bad Request: field `x` is required")]
    of.case(gpu=1)
    of.case(gpu=2, incident=OTHER)
    process.work(86_000.0)
    assert system.states() == {OTHER: [True]}
    stats = process.desk.stats()
    assert (stats.open, stats.unsent, stats.refused, stats.oldest_unsent_s) == (1, 0, 1, 0.0)
    assert process.desk.failures == {"refused": 24}, "once an hour it is tried again"
    (record,) = caplog.records
    assert record.getMessage() == f"ticket {ID} left out: memory: 400 Bad Request: field `x` is required"
    of.case(gpu=1, action="remove-node", after_s=1)
    process.work()
    assert system.states() == {OTHER: [True], ID: [True]}
    assert process.desk.stats().refused == 0


def test_one_that_somebody_has_deleted_is_made_again_while_it_is_needed(of, system):
    process = Process(of, system)
    of.case()
    process.work()
    system.tickets.clear()
    of.case(action="remove-node", after_s=1)
    process.work(VANISHED_S + 1)
    assert system.states() == {ID: [True]}
    system.tickets.clear()
    of.case(action="remove-node", state="in-service", after_s=2)
    process.work(VANISHED_S + 1)
    assert system.states() == {}


def test_one_that_somebody_has_closed_stays_closed_until_the_incident_comes_back(of, system):
    process = Process(of, system)
    of.case()
    process.work()
    system.tickets["INC0"] = system.tickets["INC0"][0], False
    of.case(action="remove-node", after_s=1)
    process.work()
    assert system.states() == {ID: [False]}


def test_incidents_that_turn_out_to_be_one_leave_one_open_ticket(of, system):
    process = Process(of, system)
    of.case(gpu=1)
    of.case(gpu=2, incident=OTHER)
    process.work()
    of.incident(into=OTHER)
    process.work()
    assert system.states() == {ID: [False], OTHER: [True]}
    assert system.tickets["INC0"][0].closed_because == f"part of {OTHER}"


def test_what_the_log_has_forgotten_is_closed_by_memory(of, system):
    before = Process(of, system)
    of.case()
    before.work()
    of.case(incident=OTHER, opened=T + 9000)
    after = Topics()
    after.log = of.compacted()
    Process(after, system, before.memory).work()
    assert system.states() == {ID: [False], OTHER: [True]}
    assert system.tickets["INC0"][0].closed_because == GONE


def test_without_memory_what_is_there_is_found(of, system):
    of.case()
    Process(of, system).work()
    Process(of, system).work()
    assert system.states() == {ID: [True]}


def test_old_cases_that_are_over_get_no_ticket(of, system):
    of.case()
    of.case(state="in-service")
    Process(of, system).work()
    assert system.calls == []


def test_a_search_that_does_not_see_what_is_new_is_not_believed_at_once(of, system):
    """The answer to a creation is lost, and the index is a minute late."""

    class Late(System):
        capabilities = Capabilities(settle_s=120.0)
        blind = True

        async def find(self, ticket):
            found = await super().find(ticket)
            return None if self.blind else found

        async def create(self, ticket, revision):
            ref = await super().create(ticket, revision)
            if len(self.tickets) == 1:
                raise Later("timed out")
            return ref

    system = Late()
    of.case()
    process = Process(of, system)
    process.work(60.0)
    system.blind = False
    process.work(120.0)
    assert system.states() == {ID: [True]}


# --- crashes ----------------------------------------------------------------------------------------------------


class Life:
    """Counts steps: before and after each call to the world and each note on disk. Dies at the `at`-th."""

    def __init__(self, at):
        self.left = at

    def step(self):
        self.left -= 1
        if self.left == 0:
            raise Crash

    def system(self, of):
        life = self

        class Mortal(System):
            capabilities = of.capabilities

            def __init__(self):
                self.tickets, self.calls, self.fails = of.tickets, of.calls, of.fails

            def __getattribute__(self, name):
                found = super().__getattribute__(name)
                if name not in ("find", "create", "update", "close"):
                    return found

                async def call(*args):
                    life.step()
                    result = await found(*args)
                    life.step()
                    return result

                return call

        return Mortal()

    def memory(self, of):
        life = self

        class Mortal:
            rows = property(lambda self: of.rows)

            def forget_closed(self, now_ms):
                of.forget_closed(now_ms)

            def note(self, row):
                life.step()
                of.note(row)
                life.step()

        return Mortal()


EVENTS = st.lists(
    st.tuples(
        st.integers(1, 3),  # GPU
        st.sampled_from(["draining", "drained", "in-service", "gone", "merge", "split", "work", "restart"]),
        st.sampled_from(["i1", "i2", "i3"]),
        st.sampled_from(["evict", "remove-node"]),
    ),
    max_size=12,
)


@given(EVENTS, st.lists(st.integers(1, 12), max_size=8), st.booleans(), st.sampled_from([0.0, 120.0]))
def test_whatever_crashes_each_incident_has_one_ticket_in_the_right_state(events, deaths, compacted, settle_s):
    of, system, memory = Topics(), System(), volatile()
    system.capabilities = Capabilities(settle_s=settle_s)
    seen = set()

    def start(now):
        life = Life(deaths.pop() if deaths else 0)
        read = Topics()
        read.log = of.compacted() if compacted else list(of.log)
        process = Process(read, life.system(system), life.memory(memory), now)
        process.of, process.read = of, len(of.log)
        return process

    def work(process):
        while True:
            try:
                process.work(1000.0)
            except Crash:
                process = start(process.now)
            else:
                return process

    process = start(T / 1000)
    for at, (gpu, what, incident, action) in enumerate(events):
        if what == "gone":
            of.add(topics.EVICTIONS, f"GPU-{gpu}", None)
        elif what in ("merge", "split"):
            of.incident(incident, into="i0" if what == "merge" else "")
        elif what == "restart":
            process = start(process.now)
        elif what != "work":
            of.case(gpu=gpu, state=what, incident=incident, action=action, opened=T + at)
        else:
            process = work(process)
            seen |= system.states().keys()
    process = work(process)

    final = View()
    for topic, record in of.log:
        final.take(topic, record)
    names = {("c1", id) for id in ("i0", "i1", "i2", "i3")}
    wanted = {name[1]: found for name in names if (found := final.ticket(name)) and found.is_open}
    states = system.states()
    assert all(len(tickets) == 1 for tickets in states.values()), "a double"
    assert {id for id, (is_open,) in states.items() if is_open} == wanted.keys()
    assert seen <= states.keys(), "a ticket vanished"
    for ticket, is_open in system.tickets.values():
        assert ticket.is_open == is_open
        if is_open:
            assert (ticket.action, ticket.gpus) == (wanted[ticket.id].action, wanted[ticket.id].gpus)
    assert process.desk.stats().unsent == 0


# --- memory -----------------------------------------------------------------------------------------------------


def test_what_is_remembered_is_there_after_a_restart(of, system, tmp_path):
    of.case()
    first = Process(of, system, Memory(tmp_path / "state" / "t.sqlite"))
    first.work()
    rows = dict(first.memory.rows)
    with pytest.raises(CannotRemember, match="another process keeps its tickets there"):
        Memory(tmp_path / "state" / "t.sqlite")
    first.memory.close()
    again = Memory(tmp_path / "state" / "t.sqlite")
    assert again.rows == rows
    assert rows[NAME].state == OPEN
    again.close()


def test_a_directory_that_cannot_be_written_and_a_file_that_is_none_are_named(tmp_path):
    (tmp_path / "file").write_text("not a database, by any means" * 99)
    with pytest.raises(CannotRemember, match=r"file/t: Not a directory|: File exists"):
        Memory(tmp_path / "file" / "t")
    with pytest.raises(CannotRemember, match="file: file is not a database"):
        Memory(tmp_path / "file")


def test_a_disk_that_fails_is_waited_for(of, system, tmp_path):
    memory = Memory(tmp_path / "t.sqlite")
    process = Process(of, system, memory)
    of.case()
    memory._db.execute("PRAGMA query_only = ON")
    process.work(100.0)
    assert system.calls == []
    assert "readonly" in process.desk.stats().outage
    memory._db.execute("PRAGMA query_only = OFF")
    process.work(600.0)
    assert system.states() == {ID: [True]}
    memory.close()


def test_closed_tickets_are_forgotten_after_a_month(of, system):
    process = Process(of, system)
    of.case()
    process.work()
    of.case(state="in-service")
    process.work()
    for days, expected in ((29, CLOSED), (31, None)):
        Process(of, system, process.memory, T / 1000 + days * 86_400)
        row = process.memory.rows.get(NAME)
        assert (row.state if row else None) == expected
