"""What is sent when, and what happens while nothing can be sent; without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from pipeline.agent import tell_losses
from pipeline.errors import UsageProblem
from pipeline.log import Entry, Unavailable
from pipeline.spool import pauses as pauses_module
from pipeline.spool import shipper as shipper_module
from pipeline.spool.lane import FAULTS, TELEMETRY
from pipeline.spool.shipper import Shipper
from pipeline.spool.spool import Spool
from pipeline.spool.store import Store
from producers.source import Observed
from schemas import frames, records
from schemas.fields import ECC_DBE_VOLATILE
from schemas.records import Gpu

FOREVER_S = 1e6

decode = msgspec.json.Decoder(records.SourceStatus).decode


class Away:
    """A log that refuses the first `failures` appends, and keeps what it takes, append by append."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or Unavailable("kafka: no answer")
        self.taken: list[list[Entry]] = []
        self.entries: list[Entry] = []

    async def append(self, topic: str, entries, source: str = "", position: str | None = None) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error
        self.taken.append(list(entries))
        self.entries += entries

    async def position(self, source: str) -> str | None:
        raise AssertionError("positions are the spool's")

    @property
    def all(self) -> list[str]:
        return [name(entry) for entry in self.entries]


def name(entry: Entry) -> str:
    return str(frames.decode(entry.value).seq) if entry.kind == frames.KIND else entry.value.decode()


def fault(text: str) -> Entry:
    return Entry("n1", "kernel", text.encode())


def frame(seq: int, errors: int = 0) -> Entry:
    built = frames.build(
        node="n1", epoch=1, seq=seq, gpus=[Gpu(uuid="GPU-1")], ticks=[seq], columns={ECC_DBE_VOLATILE: [errors]}
    )
    return Entry("n1", frames.KIND, frames.encode(built))


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses_module, "CAP_S", 0.001)
    monkeypatch.setattr(pauses_module, "START_S", 0.001)
    monkeypatch.setattr(pauses_module, "CATCH_UP_BYTES_S", 1 << 40)
    monkeypatch.setattr(shipper_module, "LINGER_S", 0.0)


def run(
    directory: Path, log: Away, steps: Callable[[Spool, Shipper], Awaitable[None]], limit: int = 1 << 20
) -> Shipper:
    async def body() -> Shipper:
        spool = Spool(Store(directory, limit, boot="b", now_ms=1))
        shipper = Shipper(spool, log, Random(1))
        try:
            async with asyncio.timeout(60):
                await steps(spool, shipper)
        finally:
            await spool.close()
        return shipper

    return asyncio.run(body())


async def ship(shipper: Shipper, until: Callable[[], object]) -> None:
    task = asyncio.create_task(shipper.run())
    while not until() and not task.done():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_faults_overtake_a_backlog_of_telemetry_and_each_keeps_its_order(tmp_path: Path) -> None:
    log = Away()

    async def steps(spool: Spool, shipper: Shipper) -> None:
        for number in range(20):
            await spool.append("", [frame(number), fault(f"fault {number}")])
        await ship(shipper, lambda: not spool.store.waiting)

    run(tmp_path, log, steps)
    assert log.all == [f"fault {number}" for number in range(20)] + [str(number) for number in range(20)]


def test_a_fault_that_comes_while_a_backlog_is_sent_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "BATCH_BYTES", {FAULTS: 1, TELEMETRY: 1})
    monkeypatch.setattr(pauses_module, "CATCH_UP_BYTES_S", 0.001)  # the second frame is due in weeks
    log = Away()

    async def steps(spool: Spool, shipper: Shipper) -> None:
        await spool.append("", [frame(0)])
        await spool.append("", [frame(1)])
        sending = asyncio.create_task(ship(shipper, lambda: len(log.all) == 2))
        while not log.all:
            await asyncio.sleep(0.001)
        await spool.append("", [fault("now")])
        await sending

    run(tmp_path, log, steps)
    assert log.all == ["0", "now"]


def test_telemetry_waits_a_moment_for_more_to_travel_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper_module, "LINGER_S", FOREVER_S)
    log = Away()

    async def steps(spool: Spool, shipper: Shipper) -> None:
        sending = asyncio.create_task(ship(shipper, lambda: log.all))
        for number in range(3):
            await spool.append("", [frame(number)])
            await asyncio.sleep(0)
        assert not log.all
        await spool.append("", [frame(3, errors=1)])
        await sending

    run(tmp_path, log, steps)
    assert [[name(entry) for entry in batch] for batch in log.taken] == [["0", "1", "2", "3"]], (
        "and goes at once where it tells of a fault"
    )


def test_while_kafka_is_away_nothing_is_lost_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Away(failures=5)

    async def steps(spool: Spool, shipper: Shipper) -> None:
        await spool.append("", [fault("a")], "kmsg", "1")
        await ship(shipper, lambda: shipper.sent)

    run(tmp_path, log, steps)
    assert log.all == ["a"]
    assert caplog.messages == [
        "cannot send, what is seen waits in the spool: kafka: no answer",
        "sending again; 1 observation waits",
    ]


def test_a_fault_that_comes_during_an_outage_is_the_first_to_be_sent(tmp_path: Path) -> None:
    log = Away(failures=1_000_000)

    async def steps(spool: Spool, shipper: Shipper) -> None:
        await spool.append("", [frame(0)])
        sending = asyncio.create_task(ship(shipper, lambda: not spool.store.waiting))
        while not shipper.outage:
            await asyncio.sleep(0.001)
        await spool.append("", [fault("meanwhile")])
        log.failures = 0
        await sending

    run(tmp_path, log, steps)
    assert log.all == ["meanwhile", "0"]


def test_credentials_that_are_half_written_are_an_outage_not_the_end(tmp_path: Path) -> None:
    log = Away(failures=2, error=UsageProblem("kafka: cannot use cert.pem: bad", "it is PEM"))

    async def steps(spool: Spool, shipper: Shipper) -> None:
        await spool.append("", [fault("a")])
        await ship(shipper, lambda: not spool.store.waiting)

    run(tmp_path, log, steps)
    assert log.all == ["a"]


def test_after_a_restart_the_rest_is_sent_as_it_was_and_numbers_go_on(tmp_path: Path) -> None:
    status = records.SourceStatus(ts=1, node="n1", source="s", state="ok")

    async def say(spool: Spool) -> None:
        told = spool.numbering.stamp(Observed("n1", "source", records.encode(status)))
        await spool.append("", [Entry(told.node, told.kind, told.value)], "s", "1")

    async def first(spool: Spool, shipper: Shipper) -> None:
        await say(spool)

    async def second(spool: Spool, shipper: Shipper) -> None:
        assert await spool.position("s") == "1"
        await say(spool)
        await ship(shipper, lambda: not spool.store.waiting)

    log = Away()
    run(tmp_path, log, first)
    run(tmp_path, log, second)
    assert [(said.epoch, said.seq) for said in map(decode, (entry.value for entry in log.entries))] == [(1, 1), (1, 2)]


def test_a_loss_is_published_once_with_its_number(tmp_path: Path) -> None:
    log = Away()

    async def overflow(spool: Spool, shipper: Shipper) -> None:
        for number in range(300):
            await spool.append("", [frame(number)._replace(value=b"x" * 10_000)])
        assert spool.store.lost > 100
        await tell_losses(spool, "n1", "default")
        await tell_losses(spool, "n1", "default")

    async def after(spool: Spool, shipper: Shipper) -> None:
        await tell_losses(spool, "n1", "default")
        await ship(shipper, lambda: not spool.store.waiting)

    run(tmp_path, log, overflow)
    run(tmp_path, log, after)
    (told,) = [decode(entry.value) for entry in log.entries if entry.kind == "source"]
    assert told.source == "spool"
    assert told.lost == 300 - sum(entry.kind == frames.KIND for entry in log.entries)
