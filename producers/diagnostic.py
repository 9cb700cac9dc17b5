"""Source `diagnostic:FILE`: what `dcgmi diag -j` printed, read once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from producers.blocking import Blocking
from producers.host import hostname
from producers.nvml.inventory import identify
from producers.nvml.library import load, start
from producers.source import Ended, Observed, Source, SourceError
from schemas import diagnostic, records
from schemas.kernel_lines import canonical_bdf
from schemas.records import Gpu

TOOL = "dcgmi diag"
BYTES_MAX = 16 * 1024 * 1024
# The output tells no times: the file was last written when the run ended, and it began no longer before than this.
# DCGM's documentation gives seconds, 2 min, 30 min and 2 h for levels 1 to 4.
LONGEST_S = {0: 10_800, 1: 60, 2: 600, 3: 3_600, 4: 10_800}
LIST = "nvidia-smi --query-gpu=serial,uuid,pci.bus_id --format=csv,noheader"
SPEC = re.compile(r"(?:([1-4])@)?(.+)", re.DOTALL)


class _Read(NamedTuple):
    """ts: when the file was last written, ms. gpus: by serial number."""

    text: str
    ts: int
    gpus: dict[str, Gpu]


class DiagnosticFile(Source):
    """One `Diagnostic` per GPU, as of the end of the run.

    target: the file, `2@FILE` where level 2 was asked for: tests of that level that did not run then make the result
    incomplete. The output names GPUs by serial number: whose these are is read from `FILE.gpus`, which holds what
    `nvidia-smi --query-gpu=serial,uuid,pci.bus_id --format=csv,noheader` prints on that machine, else from the driver
    of this one. node: None = the file's name where there is such a list, else this machine's. own_clock: append times
    are the file's.
    """

    def __init__(
        self, target: str, *, node: str | None = None, cluster: str = "default", own_clock: bool = False
    ) -> None:
        self.name = f"diagnostic:{target}"
        self.owns_clock = own_clock
        split = SPEC.fullmatch(target)
        assert split, "a source has a file"
        self._level = int(split[1]) if split[1] else None
        self._path = Path(split[2])
        self._list = self._path.with_name(f"{self._path.name}.gpus")
        self._node = node
        self._cluster = cluster
        self._blocking = Blocking()
        self._read_at: int | None = None  # the file's time when it was read

    async def open(self, after: str | None) -> None:
        self._read_at = int(after) if after else None

    async def read(self) -> list[Observed]:
        if self._read_at is not None:
            raise Ended
        read = await self._blocking.call(self._file)
        try:
            run = diagnostic.parse(read.text, self._level)
        except ValueError as error:
            raise SourceError(f"{self._path}: {error}") from error
        said, nameless = [], []
        for result in run.gpus:
            gpu = _whose(result, read.gpus, len(run.gpus))
            if gpu is None:
                nameless.append(f"GPU {result.number} (serial {result.serial or 'not told'})")
            else:
                said.append(self._diagnostic(result, gpu, read.ts))
        trouble = self._trouble(run, nameless)
        self._read_at = read.ts
        return [*([self._status(trouble, read.ts)] if trouble else []), *said]

    def position(self) -> str | None:
        return None if self._read_at is None else str(self._read_at)

    async def close(self) -> None:
        """The file is open only while it is read."""

    def _file(self) -> _Read:
        try:
            with self._path.open("rb") as file:
                body = file.read(BYTES_MAX)
            ts = self._path.stat().st_mtime_ns // 1_000_000
            listed = self._list.read_text("utf-8", "replace") if self._list.exists() else None
        except OSError as error:
            raise SourceError(f"{error.filename}: cannot read the diagnostic: {error.strerror}") from error
        gpus = _of_this_machine() if listed is None else _of_list(listed)
        if self._node is None:
            self._node = hostname() if listed is None else self._path.stem
        return _Read(body.decode("utf-8", "replace"), ts, gpus)

    def _trouble(self, run: diagnostic.Run, nameless: list[str]) -> str:
        if run.error:
            return f"the diagnostic did not run: {run.error}"
        if nameless:
            return f"nobody can tell which GPUs these are: {', '.join(nameless)}; list them in {self._list} ({LIST})"
        return "" if run.gpus else "the diagnostic tells of no GPU"

    def _diagnostic(self, result: diagnostic.GpuResult, gpu: Gpu, ts: int) -> Observed:
        told = records.Diagnostic(
            ts=ts,
            cluster=self._cluster,
            node=self._node or "",
            uuid=gpu.uuid,
            bdf=gpu.bdf,
            tool=TOOL,
            level=result.level,
            result=result.result,
            started=ts - 1000 * LONGEST_S[result.level],
            tests=result.tests,
        )
        return self._say("diagnostic", told)

    def _status(self, trouble: str, ts: int) -> Observed:
        status = records.SourceStatus(
            ts=ts, cluster=self._cluster, node=self._node or "", source=self.name, state="failing", detail=trouble
        )
        return self._say("source", status)

    def _say(self, kind: str, record: records.Observation) -> Observed:
        return Observed(record.node, kind, records.encode(record), record.ts if self.owns_clock else None)


def _whose(result: diagnostic.GpuResult, gpus: dict[str, Gpu], tested: int) -> Gpu | None:
    if len(gpus) == tested == 1:
        return next(iter(gpus.values()))
    return gpus.get(result.serial)


def _of_list(text: str) -> dict[str, Gpu]:
    """Lines of serial number, UUID and address."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines()]
    listed = [row for row in rows if len(row) == 3 and row[1].startswith("GPU-")]
    return _by_serial((serial, Gpu(uuid=uuid, bdf=canonical_bdf(bus) or "")) for serial, uuid, bus in listed)


def _by_serial(gpus: Iterable[tuple[str, Gpu]]) -> dict[str, Gpu]:
    """Boards that carry several GPUs have one number for all of them, which then tells nothing."""
    listed = list(gpus)
    several = Counter(serial for serial, _ in listed)
    return {serial if several[serial] == 1 else gpu.uuid: gpu for serial, gpu in listed}


def _of_this_machine() -> dict[str, Gpu]:
    """As the driver lists them. None of them where there is no driver here: the status then says what to do."""
    try:
        nvml = load()
        start(nvml)
    except SourceError:
        return {}
    try:
        count = nvml.nvmlDeviceGetCount()
        infos = [identify(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
    except nvml.NVMLError:  # one that does not answer can be anybody's
        return {}
    finally:
        nvml.nvmlShutdown()
    return _by_serial((info.serial, Gpu(uuid=info.uuid, bdf=info.bdf)) for info in infos)
