"""A real ai-dynamo frontend with two mocker workers: what our adapter does is what its traffic does."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from pipeline.schedulers.dynamo import DynamoSettings, build
from sinks.schedulers.adapter import Gpu
from tests.sinks.schedulers.dynamo.worlds import Died
from tests.system.dynamo_fleet import GPUS, Fleet, Stream, dynamo_python, etcd, eventually, own_network

pytestmark = pytest.mark.system

HOLDER = Path(__file__).with_name("dynamo_holder.py")
TOKENS = 150  # some seconds of a stream
GPU = Gpu("n1", GPUS[0][1], "")  # the second one of worker 0


@pytest.fixture(scope="module", params=["file", "etcd"])
def fleet(request, tmp_path_factory):
    dynamo_python()  # what it downloads is not on loopback
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        stack.enter_context(own_network())
        address = stack.enter_context(etcd(directory / "etcd")) if request.param == "etcd" else ""
        made = Fleet(directory, request.param, address)
        made.where = {"file_kv": str(made.file_kv)} if request.param == "file" else {"endpoints": [address]}
        stack.callback(made.close)
        yield made


@pytest.fixture
def settings(fleet, tmp_path):
    return DynamoSettings(discovery=fleet.discovery, state_dir=str(tmp_path / "state"), **fleet.where)


@pytest.fixture
def dynamo(settings):
    made = build(settings, {})
    yield made
    asyncio.run(made.close())


def unit_of(dynamo) -> str:
    (unit,) = asyncio.run(dynamo.units([GPU]))[GPU]
    return unit


def look(dynamo, unit):
    return asyncio.run(dynamo.look([unit]))[unit]


def both(fleet) -> set[str]:
    return {fleet.instance(0), fleet.instance(1)}


def test_streams_finish_traffic_stops_and_returns(fleet, dynamo):
    unit = unit_of(dynamo)
    assert unit == fleet.instance(0)
    streams = [Stream(TOKENS) for _ in range(4)]
    assert {stream.workers[0] for stream in streams} == both(fleet)
    assert look(dynamo, unit)[:3] == ("serving", 2, False)

    asyncio.run(dynamo.drain(unit, "a test"))
    assert look(dynamo, unit)[:3] == ("drained", 2, True)
    eventually(lambda: fleet.served_by() == {fleet.instance(1)})
    assert fleet.served_by(20) == {fleet.instance(1)}
    for stream in streams:
        answer = stream.ended()
        assert (answer.tokens, answer.finish, set(stream.workers)) == (TOKENS, "length", {answer.worker})
    eventually(lambda: look(dynamo, unit)[:3] == ("drained", 0, True))
    assert unit_of(dynamo) == unit
    assert fleet.processes[0].poll() is None

    asyncio.run(dynamo.add(unit))
    assert look(dynamo, unit)[:3] == ("serving", 0, False)
    eventually(lambda: fleet.served_by() == both(fleet))


def test_a_worker_is_put_back_after_we_were_killed_while_it_was_out(fleet, settings):
    unit = fleet.instance(0)
    place = settings.file_kv or settings.endpoints[0]
    command = [sys.executable, str(HOLDER), settings.discovery, place, settings.state_dir, GPU.uuid]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "drained\n"
        holder.send_signal(signal.SIGKILL)
    eventually(lambda: fleet.served_by() == {fleet.instance(1)})
    dynamo = build(settings, {})
    assert look(dynamo, unit)[:3] == ("drained", 0, True)
    asyncio.run(dynamo.add(unit))
    eventually(lambda: fleet.served_by() == both(fleet))
    asyncio.run(dynamo.close())


def test_a_death_before_the_deletion_leaves_no_trace_in_the_traffic(fleet, settings, monkeypatch):
    unit = fleet.instance(0)
    dynamo = build(settings, {})

    async def die(record):
        raise Died

    monkeypatch.setattr(dynamo._discovery, "take_out", die)
    with pytest.raises(Died):
        asyncio.run(dynamo.drain(unit, "a test"))
    asyncio.run(dynamo.close())
    dynamo = build(settings, {})
    stream = Stream(TOKENS)
    assert look(dynamo, unit)[::2] == ("serving", False)
    assert not list(Path(settings.state_dir).glob("*.json"))
    assert fleet.served_by() == both(fleet)
    assert stream.ended().tokens == TOKENS
    asyncio.run(dynamo.close())


def test_who_was_drained_stays_known_beyond_all_lifetimes_of_the_discovery(fleet, dynamo):
    """10 s without a sign of life are a death, in both discoveries."""
    unit = unit_of(dynamo)
    asyncio.run(dynamo.drain(unit, "a test"))

    async def wait():
        for _ in range(25):
            await asyncio.sleep(0.5)
            assert (await dynamo.look([unit]))[unit][:3] == ("drained", 0, True)

    asyncio.run(wait())
    asyncio.run(dynamo.add(unit))
    eventually(lambda: fleet.served_by() == both(fleet))


def test_streams_of_a_worker_that_is_ended_by_force_go_on_elsewhere(fleet, settings):
    kill = ["kill", "-9", str(fleet.processes[0].pid)]
    forcing = build(msgspec.structs.replace(settings, force_command=kill), {})
    unit = fleet.instance(0)
    streams = [Stream(TOKENS) for _ in range(4)]
    assert unit in {stream.workers[0] for stream in streams}
    asyncio.run(forcing.force(unit, "a test"))
    for stream in streams:
        assert (stream.ended().tokens, stream.ended().finish) == (TOKENS, "length")
    fleet.processes.pop(0).wait()
    eventually(lambda: look(forcing, unit)[:3] == ("removed", 0, True))

    fleet.start_worker(0)
    eventually(lambda: fleet.served_by() == both(fleet))
    assert unit_of(forcing) == fleet.instance(0) != unit
    asyncio.run(forcing.add(unit))
    assert look(forcing, unit).state == "unknown"
    assert fleet.served_by() == both(fleet)
    asyncio.run(forcing.close())
