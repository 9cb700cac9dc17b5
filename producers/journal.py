"""Source `journal`: the faults among the kernel's messages in this machine's journal, live."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

from producers.finding import Finding
from producers.host import hostname, now_ms
from producers.journal_entry import Entry, read_entry
from producers.kernel_faults import IDENTITY_MARK, KIND, KernelReader
from producers.source import Observed, Source, SourceError
from schemas import records
from schemas.counts import counted

PROGRAM = "journalctl"
OUTPUT = (
    "--output=json",
    "--all",  # without it a long message is null
    "--quiet",
    "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_SOURCE_MONOTONIC_TIMESTAMP",
)
KERNEL = "_TRANSPORT=kernel"  # not -k: that is this boot only, and what ended the last one stands in that
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CURSOR = re.compile(r"[a-z]=[0-9a-f]+(?:;[a-z]=[0-9a-f]+)*")
CHUNK_BYTES = 1 << 18
LINE_BYTES_MAX = 1 << 20
CHUNKS_MAX = 16  # when a fault that is told in several lines never seems to end
WAIT_S = 1.0
REST_WAIT_S = 0.3  # for further lines of a fault that is told in several
IDENTITIES_S = 5.0
TELL_EVERY_MS = 60_000

GONE = "the journal lacks the line that was read last: what followed it may be lost"
MISSING = f"{PROGRAM}: not found, it comes with systemd; read the kernel's log with kmsg or kernel-log:FILE"


class Journal(Source):
    """Follows `journalctl`, whose end is a failure: the supervisor opens it again. Begins with this boot.

    node: None = this machine's name. A position is the journal's cursor of the last line; if the journal no longer
    holds that line, what is lost is said. Lines that are no JSON are counted, and told once a minute.
    """

    name = "journal"

    def __init__(self, *, node: str | None = None, cluster: str = "default") -> None:
        self._node = node or hostname()
        self._cluster = cluster
        self._process: Process | None = None
        self._reader = self._new_reader()
        self._rest = b""  # of a line whose end has not come yet
        self._cursor: str | None = None
        self._expected: str | None = None  # the line that was read last, which comes once more
        self._bad = 0
        self._tell_at = 0

    async def open(self, after: str | None) -> None:
        await self.close()
        self._reader, self._rest = self._new_reader(), b""
        known = after if after and CURSOR.fullmatch(after) else None
        self._cursor = self._expected = known
        boot = f"_BOOT_ID={BOOT_ID.read_text('ascii').strip().replace('-', '')}"
        if known:
            await self._learn_identities(boot)
        # From the line itself, not from behind it: where another one comes first, that line is gone.
        start = f"--cursor={known}" if known else boot
        self._process = await _start("--follow", "--no-tail", start)

    async def read(self) -> list[Observed]:
        if self._process is None:
            raise SourceError("the journal is not open")
        observed = self._observe(await self._chunk(self._process, WAIT_S))
        for _ in range(CHUNKS_MAX):
            if not self._reader.pending or not (chunk := await self._chunk(self._process, REST_WAIT_S)):
                break
            observed += self._observe(chunk)
        observed += map(self._fault, self._reader.flush(otherwise_ms=now_ms()))
        return observed + self._complaint()

    def position(self) -> str | None:
        return self._cursor

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    def _new_reader(self) -> KernelReader:
        return KernelReader(source=self.name, node=self._node, cluster=self._cluster)

    async def _learn_identities(self, boot: str) -> None:
        """Which GPU is which stands in lines that were read in an earlier run. Without them faults lack the UUID."""
        process = await _start(f"--grep={IDENTITY_MARK.decode()}", boot)
        try:
            async with asyncio.timeout(IDENTITIES_S):
                lines, _ = await process.communicate()
        except TimeoutError:
            lines = b""
        finally:
            await _end(process)
        for line in lines.splitlines():
            if entry := read_entry(line):
                self._feed(entry)

    async def _chunk(self, process: Process, seconds: float) -> bytes:
        """What has come; nothing if nothing comes for so long."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                chunk = await process.stdout.read(CHUNK_BYTES)
        except TimeoutError:
            return b""
        if not chunk:
            raise SourceError(await _last_words(process))
        return chunk

    def _observe(self, chunk: bytes) -> list[Observed]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            self._rest = b""
            self._bad += 1
        observed: list[Observed] = []
        for line in filter(None, lines):
            entry = read_entry(line)
            if entry is None:
                self._bad += 1
                continue
            self._cursor = entry.cursor
            expected, self._expected = self._expected, None
            if expected == entry.cursor:
                continue
            if expected:
                observed.append(self._say(GONE))
            observed += map(self._fault, self._feed(entry))
        return observed

    def _feed(self, entry: Entry) -> list[records.KernelFault]:
        faults: list[records.KernelFault] = []
        for line in entry.lines:
            faults += self._reader.feed(line, otherwise_ms=entry.ts)
        return faults

    def _complaint(self) -> list[Observed]:
        """The lines that could not be read, at most once a minute."""
        now = now_ms()
        if not self._bad or now < self._tell_at:
            return []
        lost, self._bad, self._tell_at = self._bad, 0, now + TELL_EVERY_MS
        return [self._say(f"{counted(lost, 'line')} of {PROGRAM}: no entries of a journal", lost)]

    def _say(self, detail: str, lost: int = 0) -> Observed:
        status = records.SourceStatus(
            ts=now_ms(),
            cluster=self._cluster,
            node=self._node,
            source=self.name,
            state="ok",
            detail=detail,
            lost=lost,
        )
        return Observed(self._node, "source", records.encode(status))

    def _fault(self, fault: records.KernelFault) -> Observed:
        return Observed(fault.node, KIND, records.encode(fault))


async def findings() -> list[Finding]:
    """Whether the kernel's messages can be read here."""
    try:
        process = await _start("--lines=1")
        try:
            async with asyncio.timeout(IDENTITIES_S):
                line, words = await process.communicate()
        finally:
            await _end(process)
    except SourceError as error:
        return [Finding("journal", "absent", str(error))]
    except TimeoutError:
        return [Finding("journal", "warning", f"{PROGRAM} does not answer within {IDENTITIES_S:g} s", "read kmsg")]
    if read_entry(line.strip()):
        return [Finding("journal", "ok", "the kernel's messages can be read")]
    why = words.decode("utf-8", "backslashreplace").strip().splitlines()
    return [
        Finding(
            "journal",
            "absent",
            why[-1] if why else "no message of the kernel in it that this user may read",
            "run as a member of the group systemd-journal",
        )
    ]


async def _start(*arguments: str) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            PROGRAM, *OUTPUT, *arguments, KERNEL, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limit=CHUNK_BYTES
        )
    except FileNotFoundError:
        raise SourceError(MISSING) from None
    except OSError as error:
        raise SourceError(f"{PROGRAM}: cannot be started: {error.strerror}") from error


async def _last_words(process: Process) -> str:
    assert process.stderr is not None
    words = (await process.stderr.read(CHUNK_BYTES)).decode("utf-8", "backslashreplace").strip()
    status = await process.wait()
    return f"{PROGRAM} ended with status {status}" + (f": {words.splitlines()[-1]}" if words else "")


async def _end(process: Process) -> None:
    """Kill it, and read what is left, so that its pipes are closed."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()
