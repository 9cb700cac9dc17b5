from __future__ import annotations

import asyncio
import gzip
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from producers.kernel_log import LINES_PER_READ, KernelLog
from producers.kit import check_source
from producers.source import Observed, SourceError
from producers.tail import GZIP_MAGIC
from schemas import records

UUID_A = "GPU-00000000-0000-4000-8000-00000000000a"
UUID_B = "GPU-00000000-0000-4000-8000-00000000000b"
IDENTITY = "2026-01-02T03:04:05,000000+00:00 NVRM: GPU at PCI:0000:9b:00: {}\n"
XID = "2026-01-02T03:04:06,000000+00:00 NVRM: Xid (PCI:0000:9b:00): {}, pid=7, name=python3, Ch 00000008\n"
SXID = (
    "2026-01-02T03:04:07,000000+00:00 nvidia-nvswitch0: SXid (PCI:0000:86:00.0): 20034, Fatal, Link 30 LTSSM Fault Up\n"
    "2026-01-02T03:04:07,000000+00:00 nvidia-nvswitch0: SXid (PCI:0000:86:00.0): 20034, Severity 1 Engine instance 30\n"
)
NOISE = "2026-01-02T03:04:06,500000+00:00 usb 1-1: new high-speed USB device\n"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "dgx7.log"
    path.write_text("".join(lines))
    os.utime(path, (1_800_000_000, 1_800_000_000))
    return path


def said(path: Path, **options: Any) -> list[Observed]:
    return check_source(lambda: KernelLog(path, **options))


def faults(observed: list[Observed]) -> list[records.KernelFault]:
    decode = msgspec.json.Decoder(records.KernelFault).decode
    return [decode(one.value) for one in observed if one.kind == "kernel"]


def details(observed: list[Observed]) -> list[str]:
    return [msgspec.json.decode(one.value)["detail"] for one in observed if one.kind == "source"]


def test_a_fault_is_told_with_all_that_the_log_says(tmp_path: Path) -> None:
    (fault,) = faults(said(write(tmp_path, IDENTITY.format(UUID_A), NOISE, XID.format(31))))
    assert (fault.fault, fault.code, fault.bdf, fault.uuid) == ("xid", 31, "0000:9b:00", UUID_A)
    assert (fault.pid, fault.process, fault.message) == (7, "python3", "Ch 00000008")
    assert (fault.node, fault.ts, fault.raw) == ("dgx7", 1_767_323_046_000, XID.format(31).strip())


def test_an_identity_line_names_earlier_faults_too_unless_a_nearer_one_does(tmp_path: Path) -> None:
    lines = (XID.format(31), IDENTITY.format(UUID_A), XID.format(48), IDENTITY.format(UUID_B), XID.format(79))
    observed = said(write(tmp_path, *lines))
    assert [(one.code, one.uuid) for one in faults(observed)] == [(31, UUID_A), (48, UUID_A), (79, UUID_B)]


def test_identities_are_those_of_their_own_node(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"Jan  2 03:04:05 n1 kernel: NVRM: GPU at PCI:0000:9b:00: {UUID_A}\n",
        "Jan  2 03:04:06 n2 kernel: NVRM: Xid (PCI:0000:9b:00): 31, pid=7\n",
        "Jan  2 03:04:06 n1 kernel: NVRM: Xid (PCI:0000:9b:00): 31, pid=7\n",
    )
    assert [(one.node, one.uuid) for one in faults(said(path))] == [("n2", ""), ("n1", UUID_A)]


def test_append_times_are_the_events_own_only_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, XID.format(31))
    assert [one.ts for one in said(path)] == [None]
    assert [one.ts for one in said(path, own_clock=True)] == [1_767_323_046_000]


def test_the_node_is_the_lines_then_the_given_one_then_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, "Jan  2 03:04:05 n1 kernel: NVRM: Xid (PCI:0000:9b:00): 31, pid=7\n", XID.format(31))
    assert [one.node for one in faults(said(path))] == ["n1", "dgx7"]
    assert [one.node for one in faults(said(path, node="given"))] == ["n1", "given"]


def test_what_times_rest_on_is_said_once(tmp_path: Path) -> None:
    path = write(tmp_path, *["Jan  2 03:04:05 n1 kernel: NVRM: Xid (PCI:0000:9b:00): 31, pid=7\n"] * 2)
    (detail,) = details(said(path))
    assert "read in this machine's time zone" in detail
    assert "newest year that is not in the future" in detail
    (detail,) = details(said(path, timezone=UTC))
    assert "the given time zone" in detail


def test_a_fault_without_a_time_has_that_of_the_file_and_it_says_so(tmp_path: Path) -> None:
    observed = said(write(tmp_path, "NVRM: Xid (PCI:0000:9b:00): 31, pid=7\n"))
    assert [one.ts for one in faults(observed)] == [1_800_000_000_000]
    assert details(observed) == ["1 fault without a time has that of the file"]


def test_the_lines_of_one_fault_are_never_parted(tmp_path: Path) -> None:
    lines = [NOISE] * (LINES_PER_READ - 1) + [SXID] + [NOISE] * 100
    (fault,) = faults(said(write(tmp_path, *lines)))
    assert fault.raw.count("\n") == 1


def test_many_lines_resume_wherever_a_read_ended(tmp_path: Path) -> None:
    lines = [
        IDENTITY.format(UUID_A),
        *[XID.format(31), NOISE] * LINES_PER_READ,
        IDENTITY.format(UUID_B),
        XID.format(79),
    ]
    assert len(faults(said(write(tmp_path, *lines)))) == LINES_PER_READ + 1


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    assert [one.code for one in faults(said(write(tmp_path, XID.format(31).rstrip())))] == [31]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=80), max_size=10))
def test_any_bytes_leave_a_fault_among_them_readable(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("k") / "k.log"
    half = len(garbage) // 2
    marked = b"\n" + XID.format(31).encode()
    log = b"\n".join(garbage[:half]) + marked + b"\n".join(garbage[half:])
    assume(not log.startswith(GZIP_MAGIC))  # what is compressed is refused
    path.write_bytes(log)
    assert 31 in [one.code for one in faults(said(path))]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: path.write_bytes(gzip.compress(b"x")), "compressed; unpack it first"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, make: Any, why: str) -> None:
    path = tmp_path / "kern.log"
    make(path)
    with pytest.raises(SourceError, match=rf"kern\.log: .*{why}"):
        asyncio.run(KernelLog(path).open(None))


# --- following ---


@asynccontextmanager
async def follow(path: Path, after: str | None = None) -> AsyncIterator[KernelLog]:
    source = KernelLog(path, follow=True)
    await source.open(after)
    yield source
    await source.close()


async def codes(source: KernelLog) -> list[int | None]:
    return [one.code for one in faults(await source.read())]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.kernel_log.POLL_S", 0.0)


def test_it_goes_on_as_the_log_grows_with_whole_lines_only(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31))
        async with follow(path) as source:
            assert await codes(source) == [31]
            append(path, XID.format(48)[:60])
            assert await codes(source) == []
            append(path, XID.format(48)[60:])
            assert await codes(source) == [48]

    asyncio.run(run())


def test_it_goes_on_through_rotation_and_reads_the_old_file_to_its_end(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31))
        async with follow(path) as source:
            assert await codes(source) == [31]
            append(path, XID.format(48))
            path.rename(tmp_path / "dgx7.log.1")
            path.write_text(XID.format(79))
            assert [code for _ in range(4) for code in await codes(source)] == [48, 79]

    asyncio.run(run())


def test_it_resumes_in_a_file_that_was_rotated_away_meanwhile(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31))
        async with follow(path) as source:
            assert await codes(source) == [31]
            position = source.position()
            append(path, XID.format(48))
            path.rename(tmp_path / "dgx7.log.1")
            path.write_text(XID.format(79))
            async with follow(path, position) as resumed:
                assert [code for _ in range(4) for code in await codes(resumed)] == [48, 79]

    asyncio.run(run())


def test_what_is_lost_while_nobody_reads_is_said(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31))
        async with follow(path, "1:1") as source:
            observed = await source.read()
            assert [one.code for one in faults(observed)] == [31]
            assert details(observed) == ["the log that was read last is gone: what had been added to it since is lost"]

    asyncio.run(run())


def test_a_log_that_is_cut_short_is_read_from_its_beginning(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31), XID.format(31))
        async with follow(path) as source:
            assert await codes(source) == [31, 31]
            path.write_text(XID.format(48))
            observed = [one for _ in range(3) for one in await source.read()]
            assert [one.code for one in faults(observed)] == [48]
            assert "cut short" in details(observed)[0]

    asyncio.run(run())


def test_rotations_that_passed_while_nobody_read_are_all_read(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31))
        async with follow(path) as source:
            assert await codes(source) == [31]
            position = source.position()
        append(path, XID.format(43))
        os.utime(path, (1, 1))
        path.rename(tmp_path / "dgx7.log.2")
        write(tmp_path, XID.format(48))
        os.utime(path, (2, 2))
        path.rename(tmp_path / "dgx7.log.1")
        write(tmp_path, XID.format(79))
        (tmp_path / "dgx7.log.bak").write_text(XID.format(64))
        async with follow(path, position) as resumed:
            assert [code for _ in range(6) for code in await codes(resumed)] == [43, 48, 79]

    asyncio.run(run())


def test_another_file_with_the_number_of_the_old_one_is_not_taken_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        path = write(tmp_path, XID.format(31))
        async with follow(path) as source:
            assert await codes(source) == [31]
            position = source.position()
        path.write_text(XID.format(48) + XID.format(79))  # in place: the inode stays
        async with follow(path, position) as resumed:
            observed = await resumed.read()
            assert [one.code for one in faults(observed)] == [48, 79]
            assert "is gone" in details(observed)[0]

    asyncio.run(run())


def test_a_log_that_grows_here_is_this_machines_own(tmp_path: Path) -> None:
    """Fabric Manager's lines name no host: those of a node's agent are the node's, not the file's."""
    line = (
        "[Jan 02 2026 03:04:05] [ERROR] [tid 1234] detected NVSwitch fatal error 20034 on fid 0 on NVSwitch pci bus id"
        " 00000000:86:00.0 physical id 8 port 30\n"
    )

    async def run() -> None:
        async with follow(write(tmp_path, line)) as source:
            (fault,) = faults(await source.read())
            assert (fault.node, fault.fault, fault.code, fault.bdf) == (
                socket.gethostname(),
                "sxid",
                20034,
                "0000:86:00",
            )

    asyncio.run(run())
