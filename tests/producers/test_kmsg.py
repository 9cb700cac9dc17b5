from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.kit import check_source
from producers.kmsg import Kmsg, findings, joined, open_device
from producers.source import Observed, SourceError
from schemas import records

UUID = "GPU-00000000-0000-4000-8000-00000000000a"
IDENTITY = "NVRM: GPU at PCI:0000:9b:00: " + UUID
XID = "NVRM: Xid (PCI:0000:9b:00): {}, pid=7, name=python3, Ch 00000008"


class Kernel:
    """Hands each reader all records, one with each read, as /dev/kmsg does."""

    def __init__(self, *texts: str, first: int = 0) -> None:
        self.records = [f"4,{first + at},{1_000_000 * at},-;{text}\n".encode() for at, text in enumerate(texts)]
        self._ends: list[socket.socket] = []

    def open(self) -> int:
        kernel, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ends.append(kernel)
        for record in self.records:
            kernel.send(record)
        reader.setblocking(False)
        return reader.detach()

    def close(self) -> None:
        for end in self._ends:
            end.close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.kmsg.WAIT_S", 0.01)
    monkeypatch.setattr("producers.kmsg.REST_WAIT_S", 0.01)


def source(device: Callable[[], int], boot: str = "b") -> Kmsg:
    return Kmsg(node="n", open_device=device, boot_id=boot)


async def read(kernel: Kernel, after: str | None = None, boot: str = "b") -> list[Observed]:
    kmsg = source(kernel.open, boot)
    await kmsg.open(after)
    observed = await kmsg.read()
    await kmsg.close()
    kernel.close()
    return observed


def faults(observed: list[Observed]) -> list[records.KernelFault]:
    return [msgspec.json.decode(one.value, type=records.KernelFault) for one in observed if one.kind == "kernel"]


def statuses(observed: list[Observed]) -> list[records.SourceStatus]:
    return [msgspec.json.decode(one.value, type=records.SourceStatus) for one in observed if one.kind == "source"]


def test_it_keeps_the_contract_of_a_source() -> None:
    kernel = Kernel(IDENTITY, "usb 1-1: new device", XID.format(31))
    (said,) = check_source(lambda: source(kernel.open), reads=1)
    kernel.close()
    assert said.node == "n"


def test_a_fault_has_uuid_and_wall_clock_time() -> None:
    (fault,) = faults(asyncio.run(read(Kernel(IDENTITY, XID.format(31)))))
    assert (fault.code, fault.uuid, fault.node) == (31, UUID, "n")
    assert 0 < fault.ts < 4e12


def test_it_resumes_behind_a_position_and_still_knows_the_gpus() -> None:
    kernel = Kernel(IDENTITY, XID.format(31), XID.format(48))
    (fault,) = faults(asyncio.run(read(kernel, after="b/1")))
    assert (fault.code, fault.uuid) == (48, UUID)


def test_after_a_restart_of_the_machine_everything_is_new() -> None:
    observed = asyncio.run(read(Kernel(XID.format(31)), after="b/9", boot="c"))
    assert [one.code for one in faults(observed)] == [31]


def test_records_that_were_overwritten_are_counted() -> None:
    observed = asyncio.run(read(Kernel(XID.format(31), first=9), after="b/4"))
    (status,) = statuses(observed)
    assert (status.lost, status.state) == (4, "ok")
    assert [one.code for one in faults(observed)] == [31]


def test_a_broken_pipe_means_only_that_the_kernel_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(XID.format(31))
    real, broken = os.read, [True]

    def faster(device: int, size: int) -> bytes:
        if broken and broken.pop():
            raise BrokenPipeError
        return real(device, size)

    monkeypatch.setattr("os.read", faster)
    assert [one.code for one in faults(asyncio.run(read(kernel)))] == [31]


def test_it_wakes_up_when_something_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.kmsg.WAIT_S", 3600.0)
    kernel = Kernel()

    async def run() -> list[Observed]:
        kmsg = source(kernel.open)
        await kmsg.open(None)
        reading = asyncio.ensure_future(kmsg.read())
        await asyncio.sleep(0)
        kernel._ends[0].send(b"4,0,1,-;" + XID.format(31).encode() + b"\n")
        observed = await asyncio.wait_for(reading, 60.0)
        await kmsg.close()
        return observed

    assert [one.code for one in faults(asyncio.run(run()))] == [31]
    kernel.close()


@pytest.mark.parametrize("moments", range(8))
def test_whoever_is_told_to_end_at_the_moment_at_which_something_comes_ends(
    monkeypatch: pytest.MonkeyPatch, moments: int
) -> None:
    monkeypatch.setattr("producers.kmsg.WAIT_S", 3600.0)
    kernel = Kernel()

    async def run() -> tuple[bool, bool]:
        kmsg = source(kernel.open)
        await kmsg.open(None)
        reading = asyncio.ensure_future(kmsg.read())
        await asyncio.sleep(0)
        kernel._ends[0].send(b"4,0,1,-;usb 1-1: new device\n")
        for _ in range(moments):
            await asyncio.sleep(0)
        was_reading = reading.cancel()
        await asyncio.wait([reading])
        await kmsg.close()
        return was_reading, reading.cancelled()

    was_reading, ended = asyncio.run(run())
    kernel.close()
    assert was_reading == ended


def test_continuation_lines_and_escapes_are_no_faults() -> None:
    kernel = Kernel("NVRM: loading\n SUBSYSTEM=pci\n DEVICE=+pci:0000:9b:00.0", "caf\\xc3\\xa9", "\\x00;;,")
    assert asyncio.run(read(kernel)) == []


def test_a_line_that_another_one_cut_into_is_one_again() -> None:
    """Half of the code 79 would be the code 7."""
    kernel = Kernel()
    kernel.records = [
        b"4,0,1,-,caller=T7;NVRM: Xid (PCI:0000:9b:00): 7\n",
        b"6,1,2,-,caller=T9;usb 1-1: new device\n DEVICE=+usb:1-1\n",
        b"4,2,3,c,caller=T7;9, pid=7, name=python3, GPU has fallen off the bus.\n",
        b"4,3,4,-,caller=T9;eth0: up\n",
    ]
    observed = asyncio.run(read(kernel))
    assert [one.code for one in faults(observed)] == [79]
    assert statuses(observed) == []  # no number is missing


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_joining_changes_nothing_where_no_piece_is_marked(found: list[bytes]) -> None:
    whole = [b"4,%d,1,-;" % at + text.replace(b"\n", b" ") + b"\n" for at, text in enumerate(found)]
    assert joined(whole) == whole


@pytest.mark.parametrize("strayed_ms", [-300_000, 0, 300_000])
def test_what_comes_while_we_read_has_the_time_at_which_it_came(
    monkeypatch: pytest.MonkeyPatch, strayed_ms: int
) -> None:
    """The kernel's log has its own clock, which is minutes off after some months."""
    kernel = Kernel()
    now = 1_800_000_000_000
    monkeypatch.setattr("producers.kmsg.now_ms", lambda: now)
    monkeypatch.setattr("producers.kmsg.boot_ms", lambda: now - 10_000_000)

    async def run() -> list[Observed]:
        nonlocal now
        kmsg = source(kernel.open)
        await kmsg.open(None)
        await kmsg.read()
        now += 400
        usec = 1000 * (10_000_000 + strayed_ms)
        kernel._ends[0].send(b"4,0,%d,-;" % usec + XID.format(31).encode() + b"\n")
        observed = await kmsg.read()
        await kmsg.close()
        return observed

    (fault,) = faults(asyncio.run(run()))
    kernel.close()
    assert now - 400 <= fault.ts <= now


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (None, "ok", "/dev/kmsg can be read"),
        (FileNotFoundError(2, "No such file"), "absent", "as in many containers"),
        (PermissionError(1, "Operation not permitted"), "warning", "must not be read by this user"),
    ],
)
def test_the_check_tells_whether_it_can_be_read(
    monkeypatch: pytest.MonkeyPatch, error: OSError | None, state: str, words: str
) -> None:
    def device() -> int:
        if error:
            raise error
        return os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr("producers.kmsg.open_device", device)
    (finding,) = asyncio.run(findings())
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.fix) is (state != "ok")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "/dev/kmsg"), "not there, as in many containers"),
        (PermissionError(1, "Operation not permitted", "/dev/kmsg"), "run as root, or with the capability CAP_SYSLOG"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_what_is_in_the_way_is_said_with_how_to_mend_it(error: OSError, words: str) -> None:
    def device() -> int:
        raise error

    with pytest.raises(SourceError, match=rf"^/dev/kmsg: .*{words}"):
        asyncio.run(source(device).open(None))


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="/dev/kmsg cannot be read here")
def test_the_real_device_can_be_read() -> None:
    os.close(open_device())
    kmsg = Kmsg()

    async def run() -> str | None:
        await kmsg.open(None)
        await kmsg.read()
        await kmsg.close()
        return kmsg.position()

    assert "/" in (asyncio.run(run()) or "")
