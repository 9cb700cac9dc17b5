"""The agent as a process: what it needs, what it refuses, what an outage of hours leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.agent import tell_losses
from pipeline.clock import wall_ms
from pipeline.intake import Intake
from pipeline.kafka import reading, wire
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create
from pipeline.spool import pauses
from pipeline.spool.lane import FAULTS
from pipeline.spool.shipper import Shipper
from pipeline.spool.spool import Spool
from pipeline.spool.store import Store
from producers.source import Observed
from schemas import frames, records
from schemas.fields import FIELDS, Kind
from schemas.log import Record
from schemas.topics import OBSERVATIONS
from scripts.kafka_broker import Broker, free_port

SPOOL_BYTES = 4 << 20
NOWHERE = "127.0.0.1:1"  # nobody listens there
LINE = "[    1.0] NVRM: Xid (PCI:0000:1b:00): 79, pid=1, name=x, GPU has fallen off the bus.\n"
WATCH = """
import atexit, sys
atexit.register(lambda: print(*sorted({name.partition(".")[0] for name in sys.modules})))
from pipeline.cli import main
main()
"""


class Process:
    """`gpu-vitals agent`, on a kernel log unless sources are named, with nobody where Kafka should be."""

    def __init__(self, directory: Path, spool: str, *sources: str) -> None:
        log = directory / "kernel.log"
        log.write_text(LINE)
        self.port = free_port()
        argv = [sys.executable, "-c", WATCH, "agent", "--bootstrap", NOWHERE, "--listen", str(self.port)]
        self.process = subprocess.Popen(
            [*argv, *(sources or ("--source", f"kernel-log:{log}", "--follow"))],
            env=os.environ | {"GPU_VITALS_AGENT_SPOOL_DIR": spool, "GPU_VITALS_AGENT_SPOOL_BYTES": str(SPOOL_BYTES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def page(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                found: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                found = error.read()
        except OSError:
            return ""
        return found.decode()

    def problems(self) -> dict[str, str]:
        found: list[dict[str, Any]] = json.loads(self.page("/readyz") or "{}").get("problems", [])
        return {each["what"]: each["why"] for each in found}

    def metric(self, name: str) -> float:
        lines = self.page("/metrics").splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def reads(self) -> bool:
        """It has been seen that a source was read."""
        return "gpu_vitals_source_up{" in self.page("/metrics")


@contextmanager
def agent(directory: Path, spool: str, *sources: str) -> Iterator[Process]:
    started = Process(directory, spool, *sources)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def wait(until: Any, process: Process) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert process.process.poll() is None, process.process.communicate()
        assert time.monotonic() < deadline, process.page("/readyz")
        time.sleep(0.05)


def test_its_imports_are_small_and_it_ends_in_order_while_kafka_is_away(tmp_path: Path) -> None:
    with agent(tmp_path, str(tmp_path / "spool")) as started:
        wait(started.reads, started)
        wait(lambda: "kafka" in started.problems(), started)
        started.process.send_signal(signal.SIGTERM)
        out, errors = started.process.communicate(timeout=60)
    assert started.process.returncode == 0, errors
    imported = set(out.split())
    assert {"aiokafka", "pipeline", "producers"} <= imported
    assert not imported & {"numpy", "faust", "mode", "processors", "cryptography"}
    assert "Traceback" not in errors
    store = Store(tmp_path / "spool", 1 << 20, boot="", now_ms=0)
    waiting = store.peek(FAULTS, 1 << 20).entries  # type: ignore[union-attr]
    store.close()
    assert "kernel" in [entry.kind for entry in waiting]
    leave = msgspec.json.decode(waiting[-1].value, type=records.SourceStatus)
    assert (leave.source, leave.state) == ("agent", "ended"), "the silence that follows was asked for"


def test_a_spool_that_another_agent_uses_is_refused_with_one_line(tmp_path: Path) -> None:
    with agent(tmp_path, str(tmp_path / "spool")) as first:
        wait(first.reads, first)
        with agent(tmp_path, str(tmp_path / "spool")) as second:
            _, errors = second.process.communicate(timeout=60)
            assert second.process.returncode == 2
            assert f"{tmp_path}/spool: another agent uses this spool" in errors
            assert "Traceback" not in errors


def test_where_the_spool_cannot_be_written_it_goes_on_in_memory_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with agent(tmp_path, str(tmp_path / "file" / "spool")) as started:
        wait(started.reads, started)
        assert "not a directory; what is seen stays in memory, 4 MiB of it at most" in started.problems()["spool"]
        assert "gpu_vitals_spool_in_memory 1.0" in started.page("/metrics")
        started.process.send_signal(signal.SIGTERM)
        _, errors = started.process.communicate(timeout=60)
    assert started.process.returncode == 0
    assert errors.count("stays in memory") == 1


def test_history_waits_for_room_in_the_spool_instead_of_pushing_out_what_is_older(tmp_path: Path) -> None:
    fleet = ("--source", "simulator:80", "--speed", "300")  # fills the other half in about a second
    with agent(tmp_path, str(tmp_path / "spool"), *fleet) as started:
        wait(lambda: started.metric("gpu_vitals_spool_bytes") > SPOOL_BYTES / 2, started)
        for _ in range(30):
            time.sleep(0.1)
            assert started.metric("gpu_vitals_spool_lost_total") == 0.0
            assert SPOOL_BYTES / 2 < started.metric("gpu_vitals_spool_bytes") < SPOOL_BYTES


def test_it_ends_with_its_sources_when_kafka_has_what_they_said(kafka: Kafka, tmp_path: Path) -> None:
    log = tmp_path / "kernel.log"
    log.write_text(LINE)
    argv = [sys.executable, "-m", "pipeline", "agent", "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
    environment = os.environ | {"GPU_VITALS_AGENT_SPOOL_DIR": str(tmp_path / "spool")}
    for _ in range(2):
        done = subprocess.run([*argv, "--source", f"kernel-log:{log}"], env=environment, timeout=120)
        assert done.returncode == 0
    kinds = [record.kind for record in asyncio.run(observations(kafka))]
    assert kinds.count("kernel") == 1, "the second one goes on where the first one was"


HOURS = 6
FRAME_S = 5
FAULT_S = 60
GPUS = [records.Gpu(uuid=f"GPU-00000000-0000-0000-0000-00000000000{at}", bdf=f"0000:{at}b:00") for at in range(8)]
WATCHED = [field.id for field in FIELDS.values() if field.kind in (Kind.GAUGE, Kind.COUNTER)][:20]


def test_six_hours_without_a_broker(own_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault is lost, the spool keeps its bound, and what it had to drop is counted and published."""
    monkeypatch.setattr(pauses, "CATCH_UP_BYTES_S", 1 << 40)
    monkeypatch.setattr(pauses, "CAP_S", 0.5)
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=2)
    asyncio.run(create(kafka))
    own_broker.kill()

    async def live() -> int:
        spool = Spool(Store(tmp_path, SPOOL_BYTES, boot="b", now_ms=wall_ms()))
        log = KafkaIngress(kafka, linger_ms=0)
        shipper = Shipper(spool, log)
        shipping = asyncio.create_task(shipper.run())
        intake = Intake(spool, None, own_clock=False)
        start_ms, most = wall_ms() - 1000 * 3600 * HOURS, 0
        for at in range(0, 3600 * HOURS, FRAME_S):
            said = [frame(start_ms + 1000 * at)]
            if at % FAULT_S == 0:
                said.append(fault(start_ms + 1000 * at, at))
            await intake.append([spool.numbering.stamp(one) for one in said], source="s", position=str(at))
            most = max(most, sum(path.stat().st_size for path in tmp_path.glob("*.spool")))
            if at % 3600 == 0:
                await tell_losses(spool, "n1", "default")
        assert intake.outage == ""
        await tell_losses(spool, "n1", "default")
        own_broker.start()
        async with asyncio.timeout(120):
            await shipper.drained()
        shipping.cancel()
        await asyncio.gather(shipping, return_exceptions=True)
        await spool.close()
        await log.close()
        return most

    assert asyncio.run(live()) <= SPOOL_BYTES
    said = asyncio.run(observations(kafka))
    faults = [json.loads(record.value)["message"] for record in said if record.kind == "kernel"]
    assert faults == [f"at {at}" for at in range(0, 3600 * HOURS, FAULT_S)]
    told = [msgspec.json.decode(record.value, type=records.SourceStatus) for record in said if record.kind == "source"]
    telemetry = sum(record.kind == frames.KIND for record in said)
    assert 0 < telemetry < 3600 * HOURS // FRAME_S
    assert sum(status.lost for status in told) == 3600 * HOURS // FRAME_S - telemetry
    first = next(at for at, record in enumerate(said) if record.kind == frames.KIND)
    assert all(record.kind == frames.KIND for record in said[first:]), "faults come first"


def frame(ts: int) -> Observed:
    columns = {field: [float((ts // 1000 + at) % 90) for at in range(len(GPUS) * FRAME_S)] for field in WATCHED}
    ticks = [ts + 1000 * tick for tick in range(FRAME_S)]
    return Observed(
        "n1", frames.KIND, frames.encode(frames.build(node="n1", seq=0, gpus=GPUS, ticks=ticks, columns=columns))
    )


def fault(ts: int, at: int) -> Observed:
    said = records.KernelFault(ts=ts, node="n1", fault="xid", code=94, bdf="0000:1b:00", message=f"at {at}")
    return Observed("n1", "kernel", records.encode(said))


async def observations(kafka: Kafka) -> list[Record]:
    found: list[Record] = []
    places = (await reading.partitions(kafka, OBSERVATIONS))[OBSERVATIONS]
    async with reading.opened(kafka) as reader:
        async for _, messages in reader.read(await reader.kept(places)):
            found += map(wire.record, messages)
    return found
