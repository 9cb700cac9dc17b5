"""The adapter for Dynamo over discovery by files: real files, as ai-dynamo 1.6.1 writes them."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import pytest

from schemas.states import Wanted
from sinks.schedulers import plan
from sinks.schedulers.adapter import Away, Gpu, Refused, Standing
from sinks.schedulers.dynamo import standing as words
from sinks.schedulers.dynamo.adapter import ForcingDynamo
from sinks.schedulers.dynamo.operator_command import OperatorCommand
from sinks.schedulers.dynamo.saved import Saved
from sinks.schedulers.dynamo.workers import GpuMap
from sinks.schedulers.plan import Call
from tests.sinks.schedulers.dynamo.worlds import FileWorld, SystemServer, adapter, instance_record

A, B, C = "d94e88a9acea227f", "f4acc718d2c912ea", "00000000000000c3"
GPU_1, GPU_2, GPU_3 = (Gpu("n1", f"GPU-{number}", f"0000:{number}b:00") for number in (1, 2, 3))


@pytest.fixture
def world(tmp_path):
    """A has two GPUs, B the third."""
    made = FileWorld(tmp_path / "kv")
    made.start(A, [GPU_1.uuid, GPU_2.uuid])
    made.start(B, [GPU_3.uuid])
    return made


@pytest.fixture
def servers():
    """Makes system servers of workers, with counts by instance."""
    made = []

    def server(**counts):
        made.append(SystemServer(counts))
        return made[-1]

    yield server
    for each in made:
        each.close()


@pytest.fixture
def dynamo(world, tmp_path):
    made = adapter(world, tmp_path / "state")
    yield made
    asyncio.run(made.close())


def look(dynamo, unit=A) -> Standing:
    return asyncio.run(dynamo.look([unit]))[unit]


def drain(dynamo, unit=A) -> None:
    asyncio.run(dynamo.drain(unit, "Xid 48"))


def add(dynamo, unit=A) -> None:
    asyncio.run(dynamo.add(unit))


def saved_files(tmp_path):
    return sorted((tmp_path / "state").glob("*.json"))


def test_only_the_records_of_that_worker_by_which_requests_come_are_taken_out(world, dynamo):
    world.register(A, "worker_kv_query_source_1")
    before = world.standing()
    drain(dynamo)
    assert before.keys() - world.standing().keys() == {f"dynamo%2Fbackend%2Fgenerate%2F{A}"}
    assert (look(dynamo).state, look(dynamo).ours) == ("drained", True)
    assert look(dynamo, B) == Standing("serving")
    add(dynamo)
    assert world.standing() == before


def test_what_is_saved_says_who_we_are_and_why(world, dynamo, tmp_path):
    drain(dynamo)
    (path,) = saved_files(tmp_path)
    assert all(f'"{part}"' in path.read_text() for part in ("gpu-vitals", A, "Xid 48", f"file:{world.root}", "GPU-1"))
    add(dynamo)
    assert saved_files(tmp_path) == []


def test_nothing_is_taken_out_that_cannot_be_saved(world, dynamo, tmp_path):
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    with pytest.raises(Away, match="no such file or directory; nothing was changed"):
        drain(dynamo)
    assert world.serving(A)


def test_a_worker_that_would_be_forgotten_by_all_without_its_record_is_left_alone(world, dynamo):
    world.register(C)
    with pytest.raises(Refused, match="no model card"):
        drain(dynamo, C)
    assert world.serving(C)


def test_a_worker_that_registers_by_itself_is_drained_again(world, dynamo):
    drain(dynamo)
    world.register(A)
    assert look(dynamo).state == "serving"
    drain(dynamo)
    assert not world.serving(A)


def test_a_record_that_its_worker_has_written_anew_is_not_replaced_by_the_saved_one(world, dynamo):
    drain(dynamo)
    path = world.instances / f"dynamo%2Fbackend%2Fgenerate%2F{A}"
    path.write_bytes(b'{"newer": true}')
    add(dynamo)
    assert path.read_bytes() == b'{"newer": true}'


def test_a_worker_that_has_started_anew_gets_nothing_of_the_old_one(world, dynamo, tmp_path, caplog):
    drain(dynamo)
    world.end(A)
    world.start(C, [GPU_1.uuid, GPU_2.uuid])
    with caplog.at_level(logging.INFO):
        add(dynamo)
    assert f"worker {A}: it lives no more, so there is nothing to put back" in caplog.text
    assert {name.rpartition("2F")[2] for name in world.standing()} == {B, C}
    assert saved_files(tmp_path) == []


def test_a_worker_whose_files_nobody_touches_is_dead(world, dynamo):
    drain(dynamo)
    world.age(A, 60)
    assert look(dynamo).state == "removed"
    add(dynamo)
    assert not world.serving(A)


def test_what_is_put_back_is_as_old_as_what_else_its_worker_has_there(world, dynamo):
    drain(dynamo)
    world.age(A, 8)
    add(dynamo)
    name = f"dynamo%2Fbackend%2Fgenerate%2F{A}"
    assert (world.instances / name).stat().st_mtime == (world.cards / name).stat().st_mtime


def test_of_two_endpoints_one_may_be_back_already(world, tmp_path):
    world.register(A, "embed")
    dynamo = adapter(world, tmp_path / "state", endpoints=("generate", "embed"))
    drain(dynamo)
    world.register(A, "embed")
    assert look(dynamo) == Standing("unknown", None, True, words.PARTLY)
    drain(dynamo)
    assert look(dynamo).state == "drained"
    add(dynamo)
    assert {name for name in world.standing() if name.endswith(A)} == {
        f"dynamo%2Fbackend%2F{endpoint}%2F{A}" for endpoint in ("generate", "embed")
    }
    asyncio.run(dynamo.close())


@pytest.mark.parametrize("wanted", [Wanted.DRAINED, Wanted.FORCED, Wanted.REMOVED, Wanted.SERVING])
def test_who_is_drained_in_part_is_brought_to_an_end(world, tmp_path, wanted):
    """As after a death between two deletions, or where a worker has registered one endpoint anew."""
    dynamo = adapter(world, tmp_path / "state", endpoints=("generate", "embed"))
    world.register(A, "embed")
    drain(dynamo)
    world.register(A, "embed")
    call = plan.next_call(wanted, look(dynamo))
    assert call is (Call.ADD if wanted is Wanted.SERVING else Call.REMOVE if wanted is Wanted.REMOVED else Call.DRAIN)
    asyncio.run(dynamo.add(A) if call is Call.ADD else dynamo.drain(A, "again"))
    assert [name for name in world.standing() if name.endswith(A)] == (
        [f"dynamo%2Fbackend%2F{endpoint}%2F{A}" for endpoint in ("embed", "generate")] if call is Call.ADD else []
    )
    asyncio.run(dynamo.close())


def test_who_was_drained_by_somebody_else_stays_drained(world, dynamo, tmp_path):
    world.delete(A)
    drain(dynamo)
    assert look(dynamo) == Standing("drained", None, False, words.ELSEWHERE)
    add(dynamo)
    assert not world.serving(A)
    asyncio.run(dynamo.remove(A, ""))
    assert look(dynamo).ours
    add(dynamo)
    assert not world.serving(A)
    assert saved_files(tmp_path) == []


def test_nobody_knows_a_worker_that_is_not_there(dynamo):
    assert look(dynamo, C) == Standing("unknown", None, False, words.NOBODY)


def test_a_drain_of_which_nobody_awaits_the_end_comes_to_its_end(world, dynamo):
    async def abandoned():
        task = asyncio.create_task(dynamo.drain(A, ""))
        while not dynamo._begun:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await dynamo.add(B)  # one after another

    asyncio.run(abandoned())
    assert not world.serving(A)


def test_what_runs_is_counted_at_the_system_server_that_the_card_names(world, dynamo, servers):
    server = servers(**{A: 3, B: 1})
    world.start(A, address=server.address)
    assert look(dynamo) == Standing("serving", 3)
    drain(dynamo)
    server.counts[A] = 0
    assert look(dynamo) == Standing("drained", 0, True)
    assert look(dynamo, B).in_flight is None


@pytest.mark.parametrize("address", ["a" * 70 + ":1", "..:1", "[bad:1", "127.0.0.1:0", "no such host:1"])
def test_an_address_that_is_none_is_of_one_worker_and_holds_up_no_other(world, tmp_path, servers, address):
    file = tmp_path / "map.json"
    file.write_text(json.dumps({GPU_1.uuid: address}))
    server = servers(**{B: 1})
    world.start(A, address=address)
    world.start(B, address=server.address)
    dynamo = adapter(world, tmp_path / "state", file)
    assert asyncio.run(dynamo.units([GPU_1]))
    assert look(dynamo).state == "serving"
    assert look(dynamo, B) == Standing("serving", 1)
    asyncio.run(dynamo.close())


@pytest.mark.parametrize("count", ["1.2.3", "1e999", "+", "1e+"])
def test_a_count_that_is_none_is_of_one_worker_and_holds_up_no_other(world, dynamo, servers, count):
    server = servers(**{A: count})
    world.start(A, address=server.address)
    assert asyncio.run(dynamo.look([A, B])) == {A: Standing("serving"), B: Standing("serving")}


def test_a_card_without_an_end_tells_nothing(world, dynamo):
    """And keeps nobody else's."""
    (world.cards / f"dynamo%2Fbackend%2Fgenerate%2F{A}").write_bytes(b'{"card_json":' + b"[" * 100_000)
    assert asyncio.run(dynamo.units([GPU_1, GPU_3])) == {GPU_1: [], GPU_3: [B]}


@pytest.mark.parametrize("whose", [B, None])
def test_a_worker_that_lives_elsewhere_than_it_is_looked_for_may_have_requests_that_run(world, dynamo, servers, whose):
    """whose: who answers at that address; None: nobody listens there."""
    server = servers(**{whose: 0} if whose else {})
    if whose is None:
        server.close()
    world.start(A, address=server.address)
    drain(dynamo)
    asyncio.run(dynamo.remove(A, ""))
    assert look(dynamo) == Standing("drained", None, True)


@pytest.mark.parametrize(
    ("counts", "standing"),
    [
        ({A: 2}, Standing("drained", 2, True, words.LEASE_LOST)),
        ({C: 0}, Standing("removed", 0, True, words.ENDED)),
        (None, Standing("removed", 0, True, words.ENDED)),
        ({}, Standing("removed", None, True, words.LEFT)),
    ],
)
def test_a_worker_that_has_left_the_discovery_is_asked_itself(world, dynamo, servers, counts, standing):
    server = servers(**{A: 2})
    world.start(A, address=server.address)
    drain(dynamo)
    world.end(A)
    if counts is None:
        server.close()
        server.close = lambda: None
    else:
        server.counts = counts
    assert look(dynamo) == standing


def test_without_a_command_removed_is_said_when_nothing_runs_and_that_it_is_not_stopped(world, dynamo, servers):
    server = servers(**{A: 1})
    world.start(A, address=server.address)
    asyncio.run(dynamo.remove(A, ""))
    assert look(dynamo).state == "drained"
    server.counts[A] = 0
    assert look(dynamo) == Standing("removed", 0, True, words.NOT_STOPPED)
    add(dynamo)
    assert world.serving(A)


def test_with_a_command_removed_is_said_when_it_has_stopped_the_worker(world, tmp_path, servers):
    server = servers(**{A: 0})
    world.start(A, address=server.address)
    told = tmp_path / "told"
    stop = OperatorCommand(["sh", "-c", f'echo "$0 $1" >>{told}', "{instance}", "at {address}"], 10)
    dynamo = adapter(world, tmp_path / "state", stop=stop)
    asyncio.run(dynamo.remove(A, ""))
    assert told.read_text() == f"{A} at {server.address}\n"
    assert look(dynamo) == Standing("drained", 0, True, words.STOPPING)
    world.end(A)
    server.counts = {B: 0}
    assert look(dynamo).state == "removed"
    asyncio.run(dynamo.remove(A, ""))
    assert told.read_text().count("\n") == 1  # who is gone is not told
    asyncio.run(dynamo.close())


def test_force_needs_a_command(world, dynamo, tmp_path):
    assert not dynamo.capabilities.force
    with pytest.raises(Refused, match="force_command"):
        asyncio.run(dynamo.force(A, ""))
    end = OperatorCommand([sys.executable, "-c", f"open({str(tmp_path / 'told')!r}, 'w')"], 10)
    forcing = ForcingDynamo(world.discovery(), Saved(tmp_path / "other"), GpuMap(None), ["generate"], None, end)
    assert forcing.capabilities.force
    asyncio.run(forcing.force(A, ""))
    assert (tmp_path / "told").exists()
    assert not world.serving(A)
    asyncio.run(forcing.close())


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["sh", "-c", "echo no such unit >&2; exit 5"], "sh: exit status 5: no such unit"),
        (["sh", "-c", "sleep 60 & wait"], r"sh: not done after 0\.2 s, killed"),
        (["/nowhere/stop"], "/nowhere/stop: no such file or directory"),
    ],
)
def test_a_command_that_fails_is_tried_again_and_says_why(command, why):
    with pytest.raises(Away, match=why):
        asyncio.run(OperatorCommand(command, 0.2 if "60" in command[-1] else 10).run({"instance": A, "address": ""}))


def test_units_are_the_workers_whose_cards_name_a_gpu(dynamo):
    assert asyncio.run(dynamo.units([GPU_1, GPU_2, GPU_3, Gpu("n1", "GPU-9", "")])) == {
        GPU_1: [A],
        GPU_2: [A],
        GPU_3: [B],
        Gpu("n1", "GPU-9", ""): [],
    }


def test_a_worker_that_ended_while_it_was_out_counts_until_another_has_its_gpus(world, dynamo, tmp_path):
    drain(dynamo)
    world.end(A)
    assert asyncio.run(dynamo.units([GPU_1]))[GPU_1] == [A]
    world.start(C, [GPU_1.uuid])
    assert asyncio.run(dynamo.units([GPU_1, GPU_2])) == {GPU_1: [C], GPU_2: [A]}
    world.start(C, [GPU_1.uuid, GPU_2.uuid])
    assert asyncio.run(dynamo.units([GPU_1, GPU_2])) == {GPU_1: [C], GPU_2: [C]}
    assert saved_files(tmp_path) == []


def test_a_directory_where_no_worker_has_registered_is_said_to_be_so(tmp_path):
    dynamo = adapter(FileWorld(tmp_path / "kv"), tmp_path / "state")
    (tmp_path / "kv/v1/instances").rmdir()
    with pytest.raises(Away, match="not there: no worker has registered, or it is not DYN_FILE_KV"):
        drain(dynamo)
    asyncio.run(dynamo.close())


def test_records_of_the_other_discovery_are_left_alone(world, dynamo, tmp_path):
    drain(dynamo)
    asyncio.run(dynamo.close())
    other = FileWorld(tmp_path / "other")
    other.start(A)
    beside = adapter(other, tmp_path / "state")
    assert look(beside) == Standing("serving")
    add(beside)
    assert len(saved_files(tmp_path)) == 1
    asyncio.run(beside.close())


def test_the_saved_value_is_the_one_that_was_taken_out(world, dynamo):
    drain(dynamo)
    add(dynamo)
    assert world.standing()[f"dynamo%2Fbackend%2Fgenerate%2F{A}"] == instance_record(A)
