from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from producers import journal
from producers.journal import Journal, findings
from producers.kit import check_source
from producers.numbering import Numbering
from producers.source import Observed, SourceError
from producers.supervisor import supervise
from schemas import records

REMOTE = shutil.which("systemd-journal-remote", path=f"/usr/lib/systemd:/lib/systemd:{os.environ.get('PATH', '')}")
BOOT = "0123456789abcdef0123456789abcdef"
BEFORE = "fedcba9876543210fedcba9876543210"
UUID = "GPU-00000000-0000-4000-8000-00000000000a"
IDENTITY = "NVRM: GPU at PCI:0000:9b:00: " + UUID
XID = "NVRM: Xid (PCI:0000:9b:00): {}, pid=7, name=python3, Ch 00000008"
START_US = 1_767_225_600_000_000

# Answers as journalctl 252 does, from a file of entries that may grow.
FAKE = """#!{python} -S
import json, pathlib, re, sys, time
options, matches = {{}}, {{}}
for word in sys.argv[1:]:
    into = options if word.startswith("--") else matches
    name, _, value = word.removeprefix("--").partition("=")
    into[name] = value
journal = pathlib.Path({journal!r})
if not journal.exists():
    sys.exit("No journal files were opened due to insufficient permissions.")
cursor, at, begun = options.get("cursor"), 0, "cursor" not in options
if cursor and not re.fullmatch("[a-z]=[0-9a-f]+(;[a-z]=[0-9a-f]+)*", cursor):
    sys.exit("Failed to seek to cursor: Invalid argument")
place = lambda cursor: int(cursor.partition("i=")[2].partition(";")[0], 16)
while True:
    lines = journal.read_bytes().splitlines(keepends=True)
    shown = b""
    for line in lines[at:]:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {{}}
        if not entry:
            entry = {{"__CURSOR": "i=ffff", **matches}}  # not filtered: it is no entry
        begun = begun or place(entry["__CURSOR"]) >= place(cursor)
        if begun and all(entry.get(name) == value for name, value in matches.items()):
            if re.search(options.get("grep", ""), str(entry.get("MESSAGE"))):
                shown += line
    at = len(lines)
    sys.stdout.buffer.write(shown)
    sys.stdout.buffer.flush()
    if "follow" not in options:
        break
    time.sleep(0.01)
"""


class Journals:
    """What a machine's journal holds, and a `journalctl` on the PATH that shows it."""

    def __init__(self, directory: Path, real: bool) -> None:
        self.real = real
        self._directory = directory
        self._count = 0
        self._held = b""
        program = directory / "bin" / "journalctl"
        program.parent.mkdir()
        if real:
            (directory / "journal").mkdir()
            program.write_text(f'#!/bin/sh\nexec {shutil.which("journalctl")} --directory={directory}/journal "$@"\n')
        else:
            program.write_text(FAKE.format(python=sys.executable, journal=str(directory / "journal")))
        program.chmod(0o755)

    def add(self, *messages: str | bytes, boot: str = BOOT, waited_us: int = 0, identifier: str = "kernel") -> None:
        for message in messages:
            self._count += 1
            said_us = 1_000_000 * self._count
            self._add(
                {
                    "__CURSOR": f"s={'0' * 32};i={self._count:x};b={boot};m=1;t=1;x=1",
                    "__REALTIME_TIMESTAMP": str(START_US + said_us + waited_us),
                    "__MONOTONIC_TIMESTAMP": str(said_us + waited_us),
                    "_SOURCE_MONOTONIC_TIMESTAMP": str(said_us),
                    "_BOOT_ID": boot,
                    "_TRANSPORT": "kernel",
                    "SYSLOG_IDENTIFIER": identifier,
                },
                message,
            )

    def add_line(self, line: bytes) -> None:
        with (self._directory / "journal").open("ab") as file:
            file.write(line)

    def forget(self, entries: int) -> None:
        """The oldest ones are cleaned away, as disk space asks for."""
        path = self._directory / "journal"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[entries:]))

    def _add(self, fields: dict[str, str], message: str | bytes) -> None:
        if self.real:
            del fields["__CURSOR"]
            told = message.encode() if isinstance(message, str) else message
            self._held += "".join(f"{name}={value}\n" for name, value in fields.items()).encode()
            self._held += b"MESSAGE\n" + len(told).to_bytes(8, "little") + told + b"\n\n"
            for old in (self._directory / "journal").iterdir():
                old.unlink()
            output = f"--output={self._directory}/journal/a.journal"
            subprocess.run([str(REMOTE), output, "-"], input=self._held, check=True, capture_output=True)
            return
        shown = message if isinstance(message, str) else list(message)
        self.add_line(json.dumps(fields | {"MESSAGE": shown}).encode() + b"\n")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.system)])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journals:
    if request.param == "real" and not REMOTE:
        missing = "systemd-journal-remote, which writes the journals of this test, is not here"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    made = Journals(tmp_path, request.param == "real")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    return made


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journals:
    made = Journals(tmp_path, real=False)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    return made


@pytest.fixture(autouse=True)
def _this_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "boot_id"
    file.write_text(f"{BOOT[:8]}-{BOOT[8:12]}-{BOOT[12:16]}-{BOOT[16:20]}-{BOOT[20:]}\n")
    monkeypatch.setattr(journal, "BOOT_ID", file)
    monkeypatch.setattr(journal, "REST_WAIT_S", 0.05)


@contextlib.asynccontextmanager
async def opened(after: str | None = None) -> AsyncIterator[Journal]:
    source = Journal(node="n")
    try:
        await source.open(after)
        yield source
    finally:
        await source.close()


async def until(source: Journal, enough: int) -> list[Observed]:
    """What it says, until that is so much."""
    said: list[Observed] = []
    async with asyncio.timeout(60.0):
        while len(said) < enough:
            said += await source.read()
    return said


def read(enough: int, after: str | None = None) -> tuple[list[Observed], str | None]:
    async def run() -> tuple[list[Observed], str | None]:
        async with opened(after) as source:
            return await until(source, enough), source.position()

    return asyncio.run(run())


def faults(observed: list[Observed]) -> list[records.KernelFault]:
    return [msgspec.json.decode(one.value, type=records.KernelFault) for one in observed if one.kind == "kernel"]


def codes(observed: list[Observed]) -> list[int | None]:
    return [fault.code for fault in faults(observed)]


def statuses(observed: list[Observed]) -> list[records.SourceStatus]:
    return [msgspec.json.decode(one.value, type=records.SourceStatus) for one in observed if one.kind == "source"]


def test_a_fault_is_told_with_its_gpu_and_the_time_at_which_the_kernel_said_it(machine: Journals) -> None:
    machine.add("usb 1-1: new device", IDENTITY, XID.format(31), waited_us=7_000_000)
    (fault,) = faults(read(1)[0])
    assert (fault.code, fault.bdf, fault.uuid, fault.node, fault.source) == (31, "0000:9b:00", UUID, "n", "journal")
    assert fault.ts == START_US // 1000 + 3_000
    assert fault.raw == f"2026-01-01T00:00:03,000000+00:00 {XID.format(31)}"


def test_the_clock_of_the_kernels_log_is_not_believed_where_it_may_have_strayed(fake: Journals) -> None:
    year_us = 31_556_952_000_000
    fields = {
        "__CURSOR": "i=1",
        "__REALTIME_TIMESTAMP": str(START_US),
        "__MONOTONIC_TIMESTAMP": str(year_us),
        "_SOURCE_MONOTONIC_TIMESTAMP": str(year_us - 600_000_000),
        "_BOOT_ID": BOOT,
        "_TRANSPORT": "kernel",
        "MESSAGE": XID.format(31),
    }
    fake.add_line(json.dumps(fields).encode() + b"\n")
    assert [fault.ts for fault in faults(read(1)[0])] == [START_US // 1000]


def test_it_keeps_the_contract_of_a_source(machine: Journals) -> None:
    machine.add(IDENTITY, XID.format(31), "usb 1-1: new device", XID.format(48))
    assert codes(check_source(lambda: Journal(node="n"), reads=1)) == [31, 48]


def test_it_goes_on_behind_its_cursor_and_still_knows_the_gpus(fake: Journals) -> None:
    fake.add(IDENTITY, XID.format(31))
    _, cursor = read(1)
    fake.add(XID.format(48))
    observed, _ = read(1, after=cursor)
    assert [(fault.code, fault.uuid) for fault in faults(observed)] == [(48, UUID)]
    assert statuses(observed) == []


def test_the_last_words_before_a_restart_of_the_machine_are_read_after_it(fake: Journals) -> None:
    fake.add(XID.format(31), boot=BEFORE)
    cursor = f"s={'0' * 32};i=1;b={BEFORE};m=1;t=1;x=1"
    fake.add(XID.format(79), boot=BEFORE)
    fake.add(XID.format(48))
    assert codes(read(2, after=cursor)[0]) == [79, 48]


def test_the_first_time_it_begins_with_this_boot(machine: Journals) -> None:
    machine.add(XID.format(79), boot=BEFORE)
    machine.add(XID.format(48))
    assert codes(read(1)[0]) == [48]


def test_what_comes_while_it_is_open_is_read(fake: Journals) -> None:
    async def run() -> None:
        fake.add(XID.format(31))
        async with opened() as source:
            assert codes(await until(source, 1)) == [31]
            fake.add(XID.format(48))
            assert codes(await until(source, 1)) == [48]

    asyncio.run(run())


def test_that_the_journal_was_cleaned_too_far_is_said(fake: Journals) -> None:
    fake.add(XID.format(31), XID.format(43), XID.format(48))
    fake.forget(2)
    observed, _ = read(2, after=f"s={'0' * 32};i=1;b={BOOT};m=1;t=1;x=1")
    assert codes(observed) == [48]
    assert [status.detail for status in statuses(observed)] == [
        "the journal lacks the line that was read last: what followed it may be lost"
    ]


def test_a_position_that_is_none_is_no_reason_to_say_nothing_for_ever(machine: Journals) -> None:
    machine.add(XID.format(31))
    assert codes(read(1, after="of another source/7")[0]) == [31]


def test_lines_that_are_no_entries_are_counted_and_hide_nothing(fake: Journals) -> None:
    fake.add_line(b"-- Reboot --\n{}\n\xff\n")
    fake.add(XID.format(31))
    observed, _ = read(2)
    assert codes(observed) == [31]
    assert [(status.state, status.lost) for status in statuses(observed)] == [("ok", 3)]


def test_bytes_that_are_no_text_and_several_lines_in_one_message(machine: Journals) -> None:
    machine.add(b"caf\xff\n" + XID.format(31).encode(), "x" * 9_000 + "\n" + XID.format(48))
    assert codes(read(2)[0]) == [31, 48]


def test_what_a_program_writes_into_the_kernels_log_is_no_fault(machine: Journals) -> None:
    machine.add(XID.format(79), identifier="backup")
    machine.add(XID.format(31))
    assert codes(read(1)[0]) == [31]


def test_the_lines_of_one_fault_stay_together(machine: Journals) -> None:
    headline = "nvidia-nvswitch0: SXid (PCI:0000:86:00.0): 20034, "
    machine.add(f"{headline}Fatal, Link 30 LTSSM Fault Up", f"{headline}Severity 1 Engine instance 30")
    (fault,) = faults(read(1)[0])
    assert (fault.fault, fault.code, fault.raw.count("\n")) == ("sxid", 20034, 1)


def test_the_end_of_journalctl_is_a_failure_with_its_last_words(fake: Journals) -> None:
    with pytest.raises(SourceError, match=r"^journalctl ended with status 1: No journal files were opened"):
        read(1)


def test_without_journalctl_one_line_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"^journalctl: not found, it comes with systemd; read .* kernel-log:FILE$"):
        read(1)
    (finding,) = asyncio.run(findings())
    assert (finding.state, finding.found) == ("absent", journal.MISSING)


def test_the_check_tells_whether_the_kernels_messages_can_be_read(machine: Journals) -> None:
    machine.add(XID.format(31))
    (finding,) = asyncio.run(findings())
    assert finding.state == "ok"


def test_the_check_names_the_group_that_may_read(fake: Journals) -> None:
    (finding,) = asyncio.run(findings())
    assert (finding.state, finding.found) == (
        "absent",
        "No journal files were opened due to insufficient permissions.",
    )
    assert "systemd-journal" in finding.fix


def test_a_journalctl_that_dies_is_started_again_and_nothing_is_said_twice(
    fake: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.supervisor.BACKOFF_S", 0.001)
    told: list[Observed] = []

    async def append(entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        told.extend(entries)

    async def wait_for(*expected: int) -> None:
        async with asyncio.timeout(60.0):
            while codes(told) != list(expected):
                await asyncio.sleep(0.01)

    async def run() -> None:
        source = Journal(node="n")
        supervised = supervise(source, append, position=None, numbering=Numbering(1), node="n")
        running = asyncio.create_task(supervised)
        fake.add(XID.format(31))
        await wait_for(31)
        assert source._process is not None
        source._process.kill()
        fake.add(XID.format(48))
        await wait_for(31, 48)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    fake.add("usb 1-1: new device")
    asyncio.run(run())
    found = [(status.state, status.detail) for status in statuses(told)]
    assert found == [("ok", ""), ("failing", "journalctl ended with status -9"), ("ok", "")]
