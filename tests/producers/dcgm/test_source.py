from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from producers.dcgm import source
from producers.watched import WATCHED
from tests.producers.dcgm.agent import running

TEMP, POWER, CLOCK, MARGIN, ECC = 150, 155, 100, 153, 311
A, B = "GPU-0", "GPU-1"


def test_every_gpu_is_sampled_with_every_field(reachable: str) -> None:
    async def script() -> None:
        async with running(reachable) as log:
            await log.rounds(3)
        frame = log.all("telemetry")[-1]
        inventory = log.all("inventory")[-1]
        assert [gpu.uuid for gpu in frame.gpus] == [info.uuid for info in inventory.gpus]
        assert all(info.uuid.startswith("GPU-") and info.bdf and info.model for info in inventory.gpus)
        assert set(frame.gauges + frame.counters) <= set(WATCHED)
        assert any(value == value for _, column in frame.columns() for value in column)
        assert log.states()[0] == "ok"

    asyncio.run(script())


def test_values_come_as_they_are_and_blanks_as_blanks(double: Any) -> None:
    engine = double.HostEngine()
    engine.inject(0, TEMP, 61)
    engine.inject(0, POWER, 433.25)
    engine.inject(0, MARGIN, -3)  # beyond its limit
    engine.inject(1, TEMP, 2147483634)  # a 32-bit "not supported"
    engine.inject(1, POWER, (-8, 99.0))  # NVML failed: what stands there is nothing

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.sample())
        assert [log.value(field, A) for field in (TEMP, POWER, MARGIN, ECC)] == [61, 433.25, -3, 0]
        assert [log.value(field, B) for field in (TEMP, POWER, MARGIN)] == [None, None, None]
        assert log.sample()[390] == {A: None, B: None}  # page retirement: not supported on these GPUs

    asyncio.run(script())


def test_the_inventory_says_who_the_gpus_are_and_when_counters_restarted(double: Any) -> None:
    engine = double.HostEngine(links=18)
    engine.gpus[1].mig = 1

    async def script() -> None:
        async with running() as log:
            await log.rounds(3)
        (inventory,) = log.all("inventory")
        first, second = inventory.gpus
        assert (first.uuid, first.bdf, first.serial, first.mig) == (A, "0000:1b:00", "1652022000000", False)
        assert first.model == "NVIDIA H100 80GB HBM3"
        assert (first.peers, second.peers, second.mig) == ({B: 18}, {A: 18}, True)
        assert inventory.driver == "580.82.07"
        assert inventory.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    asyncio.run(script())


def test_an_engine_on_another_machine_does_not_tell_this_machines_boot(double: Any) -> None:
    double.HostEngine(address="10.0.0.7:5555")

    async def script() -> None:
        async with running("10.0.0.7") as log:
            await log.rounds(1)
        (inventory,) = log.all("inventory")
        assert (inventory.boot, inventory.driver_load) == ("", "")

    asyncio.run(script())


def test_a_socket_is_an_address_too(double: Any) -> None:
    double.HostEngine(address="/run/dcgm.sock")

    async def script() -> None:
        async with running("/run/dcgm.sock") as log:
            await log.until(lambda: log.value(TEMP, A) == 40)

    asyncio.run(script())


def test_an_engine_that_is_killed_is_told_and_one_that_comes_back_is_read_again(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.value(TEMP, A) == 40)
            engine.kill()
            await log.until(lambda: log.state()[0] == "failing")
            assert "127.0.0.1:5555" in log.state()[1]
            assert "systemctl start nvidia-dcgm" in log.state()[1]
            assert log.all("source")[-1].cause == "engine-down"
            before = len(log.all("telemetry"))
            await asyncio.sleep(0.1)
            assert len(log.all("telemetry")) == before, "nobody knows these values"
            restarted = engine.restart()
            restarted.inject(0, TEMP, 55)
            await log.until(lambda: log.value(TEMP, A) == 55)
            assert log.states() == ["ok", "failing", "ok"]
            assert len(log.all("inventory")) == 1, "the same GPUs"

    asyncio.run(script())


def test_what_was_sampled_before_an_engine_died_is_published(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running(publish_s=3600.0) as log:
            await log.until(lambda: log.held() > 1)
            assert not log.all("telemetry")
            engine.kill()
            await log.until(lambda: log.state()[0] == "failing")
        assert log.all("telemetry")

    asyncio.run(script())


def test_an_engine_that_hangs_is_told_soon_and_stops_nobody(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = double.HostEngine()
    double.HostEngine(address="10.0.0.7:5555")

    async def script() -> None:
        async with running() as log, running("10.0.0.7") as other:
            await log.rounds(2)
            monkeypatch.setattr(source, "CALL_S", 0.3)
            engine.hang()
            await other.rounds(3)
            await log.until(lambda: log.state()[0] == "failing")
            assert "no answer within 0.3 s" in log.state()[1]
            assert log.all("source")[-1].cause == "hung"
            monkeypatch.setattr(source, "CALL_S", 5.0)
            engine.xid(0, 31)
            engine.inject(0, TEMP, 77)
            engine.resume()
            await log.until(lambda: log.value(TEMP, A) == 77)
            await log.rounds(3)
            assert log.states() == ["ok", "failing", "ok"]
            assert log.xids() == [(A, 31)], "what happened meanwhile"
            await log.until(lambda: len(engine.clients) == 1)  # the connection that hung has been let go of

    asyncio.run(script())


def test_an_engine_that_hangs_costs_one_thread_however_long(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    engine = double.HostEngine()
    monkeypatch.setattr(source, "OPEN_S", 0.1)

    async def script() -> None:
        engine.hang()
        before = threading.active_count()
        async with running() as log:
            await log.until(lambda: log.state()[0] == "failing")
            for _ in range(20):
                await asyncio.sleep(0.02)
                assert threading.active_count() <= before + 2
            monkeypatch.setattr(source, "OPEN_S", 8.0)
            engine.resume()  # only now the connection is made for which nobody waits any more
            await log.until(lambda: log.value(TEMP, A) == 40)
            assert len(engine.clients) == 1

    asyncio.run(script())


def test_names_that_other_clients_have_taken_are_passed_over(double: Any) -> None:
    engine = double.HostEngine()
    engine.taken = 5

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.value(TEMP, A) == 40)
            assert log.states() == ["ok"]

    asyncio.run(script())


def test_an_engine_that_grants_no_name_is_told(double: Any) -> None:
    engine = double.HostEngine()
    engine.taken = 10**9

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.state()[0] == "failing")
            assert "taken every name" in log.state()[1]
            engine.taken = 0
            await log.until(lambda: log.value(TEMP, A) == 40)

    asyncio.run(script())


def test_two_agents_on_one_engine_do_not_disturb_each_other(reachable: str) -> None:
    async def script() -> None:
        async with running(reachable) as one, running(reachable) as other:
            await one.rounds(3)
            await other.rounds(3)
            assert set(one.states() + other.states()) == {"ok"}
            assert one.sample().keys() == other.sample().keys()

    asyncio.run(script())


def test_connections_leave_nothing_behind(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the engine, and not in our memory."""
    import gc
    import weakref

    from producers.dcgm.session import Session

    made: weakref.WeakSet[Session] = weakref.WeakSet()

    def make(*arguments: Any) -> Session:
        made.add(new := Session(*arguments))
        return new

    monkeypatch.setattr(source, "Session", make)
    engine = double.HostEngine()

    async def script() -> None:
        nonlocal engine
        async with running() as log:
            for restart in range(10):
                await log.until(lambda: log.states().count("ok") > restart and engine.clients)  # noqa: B023
                engine = engine.restart()
            await log.until(lambda: engine.clients)
            await log.rounds(2)
            gc.collect()
            assert len(made) == 1
            assert len(engine.clients) == 1

    asyncio.run(script())


def test_a_gpu_that_is_lost_is_blank_and_named_and_the_others_go_on(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.value(TEMP, B) == 40)
            engine.lose(1)
            await log.until(lambda: log.value(TEMP, B) is None and "GPU-1 at 0000:2b:00 is lost" in log.state()[1])
            assert log.value(TEMP, A) == 40
            assert log.state()[0] == "ok", "the source itself is well"
            assert len(log.all("inventory")[-1].gpus) == 2

    asyncio.run(script())


def test_a_gpu_that_was_lost_before_we_came_is_blank_until_it_is_back(double: Any) -> None:
    engine = double.HostEngine()
    engine.lose(1)

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.value(TEMP, A) == 40)
            assert log.sample()[TEMP] == {A: 40, B: None}
            await log.until(lambda: "GPU-1 at 0000:2b:00 is lost" in log.state()[1])
            engine.gpus[1].status = 1
            await log.until(lambda: log.value(TEMP, B) == 40)
            await log.until(lambda: log.state() == ("ok", ""))

    asyncio.run(script())


def test_a_gpu_that_a_restarted_engine_does_not_list_stays_in_the_inventory(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(1)
            engine.kill()
            double.HostEngine(1)
            await log.until(lambda: "GPU-1 at 0000:2b:00 is not listed any more" in log.state()[1])
            await log.rounds(2)
            assert list(log.sample()[TEMP]) == [A], "nothing is known of the other one"
            assert [info.uuid for info in log.all("inventory")[-1].gpus] == [A, B]

    asyncio.run(script())


def test_another_gpu_in_the_slot_takes_its_place_in_the_inventory(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(1)
            engine.gpus[1].uuid = "GPU-new"
            await log.until(lambda: log.value(TEMP, "GPU-new") == 40)
            assert [info.uuid for info in log.all("inventory")[-1].gpus] == [A, "GPU-new"]
            assert log.state() == ("ok", "")

    asyncio.run(script())


def test_after_xid_119_everything_is_blank_and_said_to_be_and_a_restart_mends_it(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.value(TEMP, A) == 40)
            engine.masked = True
            await log.until(lambda: log.state()[0] == "failing")
            assert "every field of every GPU is blank, as after Xid 119" in log.state()[1]
            await log.rounds(2)
            assert {value for column in log.sample().values() for value in column.values()} == {None}
            engine.restart()
            await log.until(lambda: log.value(TEMP, A) == 40 and log.state()[0] == "ok")

    asyncio.run(script())


def test_an_engine_that_samples_no_more_is_told_and_its_old_values_are_not(
    double: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from producers.dcgm import sample

    engine = double.HostEngine()
    monkeypatch.setattr(sample, "STALE_S", 0.1)

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.value(TEMP, A) == 40)
            engine.pause()
            await log.until(lambda: log.state()[0] == "failing")
            assert "takes no samples" in log.state()[1]
            await log.until(lambda: log.value(TEMP, A) is None)
            engine.paused_us = None
            await log.until(lambda: log.value(TEMP, A) == 40 and log.state() == ("ok", ""))

    asyncio.run(script())


def test_fields_that_the_engine_does_not_know_are_named_and_left_out(double: Any) -> None:
    double.HostEngine(fields=set(range(1, 2000)) - {153, 170})

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.state()[1])
            await log.rounds(1)
            assert log.state() == (
                "ok",
                "the host engine is too old to know the fields 153 (DCGM_FI_DEV_GPU_TEMP_TLIMIT),"
                " 170 (DCGM_FI_DEV_FABRIC_MANAGER_STATUS)",
            )
            assert set(log.sample()) == set(WATCHED) - {153, 170}

    asyncio.run(script())


def test_an_engine_without_gpus_is_one_clear_line(double: Any) -> None:
    double.HostEngine(0)

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.state()[0] == "failing")
            assert log.state()[1] == "host engine at 127.0.0.1:5555: it has no GPU; see what nvidia-smi -L lists"

    asyncio.run(script())


def test_mig_instances_that_are_made_while_we_watch_are_watched(double: Any) -> None:
    engine = double.HostEngine(1)

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.instances = [((4, 7), (1, 0), 5, 0xFFFFFFFF), ((5, 9), (4, 7), 5, 0)]
            await log.until(lambda: log.all("inventory")[-1].gpus[0].mig)
            assert log.all("inventory")[-1].gpus[0].instances == [5]
            await log.rounds(2)
            engine.xid(9, 43, kind=5)
            await log.until(lambda: log.xids())
            (fault,) = log.all("kernel")
            assert (fault.uuid, fault.gi, fault.ci, fault.code) == (A, 5, 0, 43)

    asyncio.run(script())


def test_what_hangs_is_told_by_us_before_the_supervisor_gives_up_on_us() -> None:
    assert source.Dcgm.deadline_s > source.OPEN_S + source.CLOSE_S
    assert source.Dcgm.deadline_s > source.WAIT_S + source.CALL_S


def test_trouble_is_told_again_after_another_connection_and_its_end_too(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            engine.lose(1)
            await log.until(lambda: "GPU-1" in log.state()[1])
            restarted = engine.restart()
            await log.until(lambda: log.states().count("failing") == 1 and "GPU-1" in log.state()[1])
            restarted.gpus[1].status = 1
            await log.until(lambda: log.state() == ("ok", ""))

    asyncio.run(script())
