"""Source `kmsg`: the faults in this machine's kernel log, live."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from producers.finding import Finding
from producers.host import boot_ms, hostname, now_ms
from producers.kernel_faults import IDENTITY_MARK, KIND, KernelReader
from producers.source import Observed, Source, SourceError
from schemas import records
from schemas.counts import counted
from schemas.sources import PERMISSION

RECORD_BYTES_MAX = 16_384  # the kernel writes up to 8 KiB
RECORDS_PER_READ = 5_000
WAIT_S = 1.0
REST_WAIT_S = 0.3  # for further lines of a fault that is told in several
DEVICE = "/dev/kmsg"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
HEADER = re.compile(rb"[0-9]+,(?P<sequence>[0-9]{1,20}),(?P<usec>[0-9]{1,18}),")
# A piece of a line that others cut into: `priority,sequence,usec,c[,caller=ID];text`.
PIECE = re.compile(rb"[0-9]+,[0-9]+,[0-9]+,c(?P<caller>,caller=[TC][0-9]+)?;(?P<text>[^\n]*)")
SPLIT_SPAN = 8  # records, between the pieces of a line


def open_device() -> int:
    return os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


class Kmsg(Source):
    """Reads all that the kernel still holds, then what it adds. Records that were overwritten are counted.

    node: None = this machine's name. open_device: gives a descriptor that yields a record with each read.
    A position is `boot id/sequence number`: after a restart of the machine everything is new.

    The kernel's log has a clock of its own, which over months strays from the wall clock by minutes. What comes while
    we read it lies between two looks at it, and no such time is told that does not.
    """

    name = "kmsg"

    def __init__(
        self,
        *,
        node: str | None = None,
        cluster: str = "default",
        open_device: Callable[[], int] = open_device,
        boot_id: str | None = None,
    ) -> None:
        self._node = node or hostname()
        self._cluster = cluster
        self._open_device = open_device
        self._boot_id = boot_id
        self._boot = ""
        self._device: int | None = None
        self._sequence = -1
        self._resumed_behind = -1
        self._seen_all_ms = 0  # when there was nothing to read: what comes was said later
        self._reader = self._new_reader()

    async def open(self, after: str | None) -> None:
        await self.close()
        try:
            self._boot = self._boot_id or Path(BOOT_ID).read_text().strip()
            self._device = self._open_device()
        except FileNotFoundError as error:
            raise SourceError(
                f"{error.filename}: not there, as in many containers; mount it, or read a log with kernel-log:FILE"
            ) from error
        except PermissionError as error:
            raise SourceError(
                f"{error.filename}: permission denied; run as root, or with the capability CAP_SYSLOG",
                cause=PERMISSION,
            ) from error
        except OSError as error:
            raise SourceError(f"{DEVICE}: {error.strerror}") from error
        boot, _, sequence = (after or "/").rpartition("/")
        self._sequence = self._resumed_behind = int(sequence) if boot == self._boot else -1
        self._seen_all_ms = 0
        self._reader = self._new_reader()

    async def read(self) -> list[Observed]:
        if self._device is None:
            raise SourceError(f"{DEVICE} is not open")
        observed = self._records(self._device)
        if not observed or self._reader.pending:
            await self._wait(self._device, REST_WAIT_S if self._reader.pending else WAIT_S)
            observed += self._records(self._device)
        return observed + [self._fault(fault) for fault in self._reader.flush(otherwise_ms=now_ms())]

    def position(self) -> str | None:
        return f"{self._boot}/{self._sequence}" if self._boot else None

    async def close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            os.close(device)

    def _new_reader(self) -> KernelReader:
        return KernelReader(source=self.name, node=self._node, cluster=self._cluster)

    def _records(self, device: int) -> list[Observed]:
        """What the kernel has ready now."""
        observed: list[Observed] = []
        boot, now = boot_ms(), now_ms()
        found, drained = _read(device)
        for record in found:
            if header := HEADER.match(record):
                sequence = int(header["sequence"])
                observed += self._overwritten(sequence, now)
                self._sequence = max(self._sequence, sequence)
        for record in joined(found):
            header = HEADER.match(record)
            known = header is not None and int(header["sequence"]) <= self._resumed_behind
            if not known or IDENTITY_MARK in record:  # what was read in an earlier run still tells which GPU is which
                said_ms = int(header["usec"]) // 1000 if header else 0
                boot_then = min(max(boot + said_ms, self._seen_all_ms), now) - said_ms
                faults = self._reader.feed(record, otherwise_ms=now, boot_ms=boot_then)
                observed += map(self._fault, faults)
        if drained:
            self._seen_all_ms = now
        return observed

    def _overwritten(self, sequence: int, now: int) -> list[Observed]:
        """The loss of records between the last one and this one, as an observation."""
        lost = sequence - self._sequence - 1
        if lost <= 0 or self._sequence < 0:
            return []
        status = records.SourceStatus(
            ts=now,
            cluster=self._cluster,
            node=self._node,
            source=self.name,
            state="ok",
            detail=f"the kernel overwrote {counted(lost, 'record')} that nobody had read",
            lost=lost,
        )
        return [Observed(self._node, "source", records.encode(status))]

    def _fault(self, fault: records.KernelFault) -> Observed:
        return Observed(fault.node, KIND, records.encode(fault))

    async def _wait(self, device: int, seconds: float) -> None:
        """Until there is something to read, or the time has passed."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(device, ready.set)
        try:
            async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 can lose that we are told to end
                await ready.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(device)


def _read(device: int) -> tuple[list[bytes], bool]:
    """The records that are there, and whether that is all for now."""
    found: list[bytes] = []
    while len(found) < RECORDS_PER_READ:
        try:
            record = os.read(device, RECORD_BYTES_MAX)
        except BlockingIOError:
            return found, True
        except BrokenPipeError:  # the kernel was faster: the next read is of the oldest record it still has
            continue
        except OSError as error:
            raise SourceError(f"{DEVICE}: cannot read on: {error.strerror}") from error
        if not record:
            raise SourceError(f"{DEVICE}: closed by the other side")
        found.append(record)
    return found, False


async def findings() -> list[Finding]:
    """Whether the kernel's log can be read here."""
    try:
        os.close(open_device())
    except FileNotFoundError:
        return [Finding("kmsg", "absent", f"{DEVICE} is not there, as in many containers", f"mount {DEVICE}")]
    except PermissionError:
        fix = "run as root or with the capability CAP_SYSLOG (systemd: AmbientCapabilities=CAP_SYSLOG)"
        return [Finding("kmsg", "warning", f"{DEVICE} must not be read by this user", fix)]
    except OSError as error:
        return [Finding("kmsg", "warning", f"{DEVICE}: {error.strerror}", "see the kernel's own configuration")]
    return [Finding("kmsg", "ok", f"{DEVICE} can be read")]


def joined(records: Iterable[bytes]) -> list[bytes]:
    """`records` with each piece of a line put behind the piece before it: half a code is another code."""
    whole: list[bytes] = []
    for record in records:
        if piece := PIECE.match(record):
            for at in range(len(whole) - 1, max(-1, len(whole) - 1 - SPLIT_SPAN), -1):
                header, _, rest = whole[at].partition(b";")
                text, _, dictionary = rest.partition(b"\n")
                if (piece["caller"] or b"") in header and text:
                    whole[at] = header + b";" + text + piece["text"] + b"\n" + dictionary
                    break
            else:
                whole.append(record)
        else:
            whole.append(record)
    return whole
