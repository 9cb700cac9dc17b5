"""The desk before a stand-in of nvidia-smi: what is done, in which order, what is refused, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import msgspec
import pytest

from pipeline.errors import UsageProblem
from pipeline.node_commands import desk as desk_module
from pipeline.node_commands.desk import Desk
from pipeline.node_commands.journal import Journal
from producers.commands.hands import Hands
from schemas import records
from tests.pipeline.node_commands.scripted_desk import HERE, KEYS, command
from tests.producers.commands.standins import BDF, OTHER, OTHER_BDF, UUID, Machine
from tests.producers.commands.test_diagnose import DCGMI, DISCOVERY, TESTS, dcgm4

NOW = 1_767_225_600_000


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    made.use(monkeypatch.setattr)
    return made


class Node:
    """A desk on a machine, its clock, and what it says."""

    def __init__(self, machine):
        self.path = machine.directory / "commands.journal"
        self.hands = Hands(machine.programs, [])
        self.now_ms = NOW
        self.boot = "b1"
        self.said = []
        self.diagnostics = []
        self.durable = True
        self.keys = KEYS
        self.offset = 0

    @contextlib.asynccontextmanager
    async def desk(self, enabled=True, at_once=1):
        made = Desk(
            lambda: HERE._replace(boot=self.boot),
            lambda: self.keys,
            Journal(self.path),
            self.hands,
            self.report,
            enabled=enabled,
            at_once=at_once,
            now=lambda: self.now_ms,
        )
        self.made = made
        await made.resume()
        try:
            yield made
        finally:
            await made.close()

    async def report(self, said):
        for each in said:
            assert each.node == "n1"
            if each.kind == "diagnostic":
                self.diagnostics.append(msgspec.json.decode(each.value, type=records.Diagnostic))
                continue
            self.said.append(msgspec.json.decode(each.value, type=records.CommandResult))
        return self.durable

    async def hear(self, given):
        self.offset += 1
        await self.made.hear(given, self.offset)

    async def idle(self):
        while self.made._tasks:
            await asyncio.wait(self.made._tasks)

    @property
    def states(self):
        return [(result.id, result.state) for result in self.said]


def played(machine, *commands_, enabled=True):
    """What a desk says to commands that come one after the other, each heard when the one before has ended."""

    async def run():
        node = Node(machine)
        async with node.desk(enabled):
            for each in commands_:
                await node.hear(each)
                await node.idle()
        return node

    return asyncio.run(run())


def test_a_reset_is_started_done_and_told_with_all_that_names_it(machine):
    node = played(machine, command(NOW, author="ops", case="inc-1"))
    assert node.states == [("c1", "started"), ("c1", "done")]
    done = node.said[-1]
    assert (done.uuid, done.bdf, done.sequence, done.author, done.case) == (UUID, BDF, NOW, "ops", "inc-1")
    assert (done.exit_status, done.started) == (0, NOW)
    assert "successfully reset" in done.output
    assert machine.resets() == [f"--gpu-reset -i {UUID}"]


def test_a_diagnostic_is_told_as_a_record_of_its_own_before_the_result(machine):
    machine.programs = machine.programs._replace(dcgmi=machine.program("dcgmi", DCGMI))
    machine.say("discovery", DISCOVERY)
    machine.say("diag", json.dumps(dcgm4(dict.fromkeys(TESTS, "Pass"))))
    node = played(machine, command(NOW, action="diagnose", parameters={"level": 2}))
    assert [(result.state, result.reason) for result in node.said] == [("started", ""), ("done", "pass")]
    (diagnostic,) = node.diagnostics
    assert (diagnostic.uuid, diagnostic.result, diagnostic.level) == (UUID, "pass", 2)


@pytest.mark.parametrize(("action", "reason"), [("reset", "busy"), ("diagnose", "engine")])
def test_what_is_looked_at_and_left_alone_is_refused_and_never_said_to_have_started(machine, action, reason):
    """On disk it is: an agent that dies while it looks does not look again."""
    machine.say("compute", f"{UUID}, 4242, python3\n" if action == "reset" else "")
    node = played(machine, command(NOW, action=action))
    assert [(result.state, result.reason, result.started) for result in node.said] == [("refused", reason, 0)]
    assert b'"state":"started"' in node.path.read_bytes()
    assert machine.resets() == []


def test_unless_it_is_enabled_it_only_says_what_it_would_have_run(machine):
    node = played(machine, command(NOW), command(NOW, id="c2", node="n2"), enabled=False)
    assert [(result.state, result.reason) for result in node.said] == [("dry-run", ""), ("refused", "node")]
    assert node.said[0].detail.endswith(f"it would have run: {machine.programs.nvidia_smi} --gpu-reset -i {UUID}")
    assert machine.resets() == []


def test_what_was_a_dry_run_is_not_done_later_when_commands_are_enabled(machine):
    async def run():
        node = Node(machine)
        async with node.desk(enabled=False):
            await node.hear(command(NOW))
        async with node.desk():
            await node.made.hear(command(NOW), 1)
            await node.hear(command(NOW))
            await node.idle()
        return node

    node = asyncio.run(run())
    assert [(result.state, result.reason) for result in node.said] == [("dry-run", ""), ("refused", "repeated")]
    assert machine.resets() == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": "n2"}, "node"),
        ({"boot": "b0"}, "boot"),
        ({"bdf": OTHER_BDF}, "gpu"),
        ({"uuid": "GPU-other"}, "gpu"),
        ({"expires": NOW}, "expired"),
        ({"action": "format"}, "action"),
    ],
)
def test_a_refusal_is_reported_logged_in_one_line_and_counted(machine, caplog, changes, reason):
    with caplog.at_level(logging.WARNING):
        node = played(machine, command(NOW - 1, **changes))
    (result,) = node.said
    assert (result.id, result.state, result.reason) == ("c1", "refused", reason)
    (line,) = caplog.messages
    assert line.startswith("command c1 (")
    assert result.detail in line
    assert node.made.counts == {("refused", reason): 1}
    assert machine.resets() == []


def test_forged_ones_shut_out_no_true_one(machine):
    """Neither their sequence nor their id counts."""
    forged = msgspec.structs.replace(command(NOW), sequence=NOW + 50_000)
    node = played(machine, forged, command(NOW))
    assert (node.said[0].state, node.said[0].reason) == ("refused", "signature")
    assert node.states[1:] == [("c1", "started"), ("c1", "done")]


def test_replayed_and_reordered_ones_are_refused_across_starts(machine):
    async def run():
        node = Node(machine)
        async with node.desk():
            await node.hear(command(NOW, id="c2", sequence=2))
            await node.idle()
        async with node.desk():
            await node.hear(command(NOW, id="c2", sequence=2))
            await node.hear(command(NOW, id="c1", sequence=1))
            await node.idle()
        return node

    node = asyncio.run(run())
    assert [(result.id, result.reason) for result in node.said[2:]] == [("c2", "repeated"), ("c1", "sequence")]
    assert len(machine.resets()) == 1


def test_keys_that_cannot_be_read_any_more_believe_nobody(machine):
    async def run():
        node = Node(machine)
        async with node.desk():

            def gone():
                raise UsageProblem("keys.toml: no such file")

            node.made._keys = gone
            await node.hear(command(NOW))
        return node.said

    (result,) = asyncio.run(run())
    assert (result.reason, result.detail) == ("key", "keys.toml: no such file")


def test_what_waits_too_long_is_refused_instead_of_done_late(machine):
    machine.say("takes_s", "0.2")

    async def run():
        node = Node(machine)
        async with node.desk():
            await node.hear(command(NOW, id="c1", sequence=1))
            await node.hear(command(NOW, id="c2", sequence=2, expires=NOW + 1_000))
            await asyncio.sleep(0)
            node.now_ms = NOW + 2_000
            await node.idle()
        return node

    node = asyncio.run(run())
    assert node.states[-1] == ("c2", "refused")
    assert node.said[-1].reason == "expired"
    assert len(machine.resets()) <= 1


async def one_at_work_and_one_that_waits(node):
    await node.hear(command(NOW, id="c1", sequence=1))
    while ("c1", "started") not in node.states:
        await asyncio.sleep(0.01)
    await node.hear(command(NOW, id="c2", sequence=2, uuid=OTHER, bdf=OTHER_BDF))


def test_what_waits_is_not_done_when_its_key_is_taken_away_meanwhile(machine):
    machine.hold()

    async def run():
        node = Node(machine)
        async with node.desk():
            await one_at_work_and_one_that_waits(node)
            node.keys = {}
            machine.release()
            await node.idle()
        return node

    node = asyncio.run(run())
    assert [(result.id, result.state, result.reason) for result in node.said[-2:]] == [
        ("c1", "done", ""),
        ("c2", "refused", "key"),
    ]
    assert machine.resets() == [f"--gpu-reset -i {UUID}"]


@pytest.mark.parametrize("expires", [0, NOW - 1, NOW + 10 * 3_600_000])
def test_one_that_is_out_of_time_shuts_out_no_other_whatever_its_sequence(machine, expires):
    node = played(machine, command(NOW - 2, id="c0", expires=expires, sequence=NOW * 1000), command(NOW))
    assert node.states == [("c0", "refused"), ("c1", "started"), ("c1", "done")]


def test_one_that_waits_can_be_cancelled_and_one_that_has_started_cannot(machine):
    machine.hold()

    async def run():
        node = Node(machine)
        async with node.desk():
            await one_at_work_and_one_that_waits(node)
            await node.hear(command(NOW, id="c3", sequence=3, action="cancel", parameters={"command": "c2"}))
            await node.hear(command(NOW, id="c4", sequence=4, action="cancel", parameters={"command": "c1"}))
            await node.hear(command(NOW, id="c5", sequence=5, action="cancel", parameters={"command": "c9"}))
            machine.release()
            await node.idle()
        return node

    node = asyncio.run(run())
    ends = {result.id: (result.state, result.reason) for result in node.said}
    assert ends == {
        "c1": ("done", ""),
        "c2": ("cancelled", ""),
        "c3": ("done", ""),
        "c4": ("refused", "late"),
        "c5": ("refused", "unknown"),
    }
    assert machine.resets() == [f"--gpu-reset -i {UUID}"]


def test_no_more_gpus_at_once_than_allowed_and_one_command_of_each_at_a_time(machine):
    async def run(at_once):
        running, most, same = set(), 0, 0
        node, all_heard = Node(machine), asyncio.Event()

        async def do(given, bdf, begin):
            nonlocal most, same
            same += given.uuid in running
            running.add(given.uuid)
            most = max(most, len(running))
            await all_heard.wait()
            await asyncio.sleep(0)
            running.discard(given.uuid)
            return desk_module.Outcome("done", "")

        node.hands.do = do
        async with node.desk(at_once=at_once):
            for number in range(8):
                uuid, bdf = ((UUID, BDF), (OTHER, OTHER_BDF))[number % 2]
                await node.hear(command(NOW, id=f"c{number}", sequence=number + 1, uuid=uuid, bdf=bdf))
            async with asyncio.timeout(60.0):
                while len(running) < at_once:
                    await asyncio.sleep(0.001)
            all_heard.set()
            await node.idle()
        return most, same, sum(result.state == "done" for result in node.said)

    assert asyncio.run(run(1)) == (1, 0, 8)
    Node(machine).path.unlink()
    assert asyncio.run(run(2)) == (2, 0, 8)


def test_what_could_not_be_made_durable_is_said_again_after_the_next_start(machine):
    async def run():
        node = Node(machine)
        node.durable = False
        async with node.desk():
            await node.hear(command(NOW))
            await node.idle()
        node.durable = True
        async with node.desk():
            pass
        async with node.desk():
            pass
        return node

    node = asyncio.run(run())
    assert node.states == [("c1", "started"), ("c1", "done"), ("c1", "done")]
    assert len(machine.resets()) == 1


def test_where_nothing_can_be_remembered_nothing_is_done_and_it_says_why(machine):
    node = Node(machine)
    node.path.write_bytes(b"rubbish\n" * 3)

    async def run():
        async with node.desk():
            await node.hear(command(NOW))
            return node.made.problems()

    problems = asyncio.run(run())
    assert [(result.state, result.reason) for result in node.said] == [("refused", "journal")]
    assert "damaged" in problems["commands"]
    assert machine.resets() == []


def test_a_bug_in_what_acts_is_a_failure_that_is_told(machine, caplog):
    async def run():
        node = Node(machine)

        async def do(given, bdf, begin):
            raise RuntimeError("oops")

        node.hands.do = do
        async with node.desk():
            await node.hear(command(NOW))
            await node.idle()
        return node.said[-1]

    result = asyncio.run(run())
    assert (result.state, result.detail) == ("failed", "crashed: RuntimeError: oops")
