"""What is heard of sources that do not behave."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from pipeline import listening
from pipeline.listening import Heard, listen
from producers.machine import Machine
from producers.source import Observed, Source, SourceError
from schemas import frames, records
from schemas.fields import GPU_TEMP
from schemas.records import Gpu, GpuInfo

HISTORY = 40


def frame() -> Observed:
    made = frames.build(node="n", cluster="default", seq=0, gpus=[Gpu(uuid="a")], ticks=[1], columns={GPU_TEMP: [40.0]})
    return Observed("n", frames.KIND, frames.encode(made))


def fault(ts: int) -> Observed:
    said = records.KernelFault(ts=ts, node="n", fault="xid", code=31, bdf="0000:1a:00")
    return Observed("n", "kernel", records.encode(said))


def inventory() -> Observed:
    said = records.Inventory(ts=5, node="n", gpus=[GpuInfo(uuid="a", model="H100")], driver="580")
    return Observed("n", "inventory", records.encode(said))


class Scripted(Source):
    """Says what it is given, a piece with each read; an error is raised."""

    deadline_s = 5.0

    def __init__(self, name: str, *pieces: list[Observed] | Exception) -> None:
        self.name = name
        self._pieces = list(pieces)
        self._read = 0
        self.closed = 0

    async def open(self, after: str | None) -> None:
        assert after is None

    async def read(self) -> list[Observed]:
        await asyncio.sleep(0.01)
        piece = self._pieces.pop(0) if self._pieces else []
        if isinstance(piece, Exception):
            raise piece
        self._read += bool(piece)
        return piece

    def position(self) -> str | None:
        return str(self._read)

    async def close(self) -> None:
        self.closed += 1


def heard(*sources: Scripted, seconds: float = 1.0, lacks: list[str] | None = None) -> Heard:
    by_name = {source.name: source for source in sources}
    found = listen(Machine(list(by_name), lacks or []), seconds, node="n", source=lambda name, *_: by_name[name])
    assert all(source.closed for source in sources)
    return found


def test_the_kernels_history_is_read_to_its_end_however_long_that_takes() -> None:
    found = heard(Scripted("nvml", [frame()]), Scripted("kmsg", *([fault(at)] for at in range(HISTORY))))
    assert sum(one.kind == "kernel" for one in found.said) == HISTORY
    assert (found.unread, found.notes) == ([], [])


def test_one_that_never_ends_is_left_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CATCH_UP_S", 0.2)
    found = heard(Scripted("nvml", [frame()]), Scripted("kmsg", *([fault(at)] for at in range(10_000))), seconds=0.1)
    assert found.notes == ["kmsg: the kernel still had something to say after 0.2 s"]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (SourceError("nvml: the driver has not answered"), "nvml: the driver has not answered"),
        (ZeroDivisionError(), "nvml: ZeroDivisionError"),
    ],
)
def test_a_source_that_fails_or_crashes_takes_nothing_with_it(failure: Exception, told: str) -> None:
    found = heard(Scripted("nvml", [frame()], failure), Scripted("kmsg", [fault(7)]))
    assert {one.kind for one in found.said} == {frames.KIND, "kernel"}
    assert found.unread == [told]


def test_a_source_that_does_not_let_go_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(self: Scripted) -> None:
        self.closed += 1
        await asyncio.sleep(3600.0)

    monkeypatch.setattr(listening, "CLOSE_S", 0.05)
    monkeypatch.setattr(Scripted, "close", close)
    found = heard(Scripted("nvml", [frame()]))
    assert ([one.kind for one in found.said], found.unread) == ([frames.KIND], [])


def test_a_source_of_telemetry_that_says_nothing_has_not_been_read() -> None:
    assert heard(Scripted("nvml", [inventory()]), Scripted("kmsg")).unread == ["nvml: no sample came within 1 s"]


def test_who_the_gpus_are_stands_before_what_was_said_of_them() -> None:
    found = heard(Scripted("nvml", [inventory(), frame()]), Scripted("kmsg", [fault(7)]))
    assert [(one.kind, one.ts) for one in found.said if one.kind != frames.KIND] == [("inventory", 7), ("kernel", 7)]
    assert (found.here.driver, found.here.models) == ("580", {"H100": 1})


def test_a_fault_that_the_kernels_clock_puts_ahead_is_of_now() -> None:
    (one,) = heard(Scripted("kmsg", [fault(2**52)])).said
    assert one.ts is not None
    assert one.ts < 2**52
    assert msgspec.json.decode(one.value, type=records.KernelFault).ts == 2**52
