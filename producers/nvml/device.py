"""One GPU of an opened NVML: what it says each time, and what it has said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from producers.nvml.inventory import mig_mode
from producers.nvml.reader import GpuLost, Reader
from producers.nvml.ways import LINK_COUNT, SLOW, WAYS, Value, link_state
from schemas.fields import LINKS
from schemas.records import Gpu, GpuInfo

STATES = {0.0: "down", 1.0: "up", 2.0: "up", 3.0: "disabled"}
UNSUPPORTED = "unsupported"


class Device:
    """handle: None while it cannot be opened; then trouble says why.

    trouble: why there is no value of it at all; else empty. links: the states of its NVLinks; [] = not known.
    """

    def __init__(self, nvml: Any, info: GpuInfo, handle: Any, watched: Iterable[int], trouble: str = "") -> None:
        self.info = info
        self.handle = handle
        self.trouble = trouble
        self.links: list[str] = []
        self._nvml = nvml
        self._slow: dict[int, float | None] = {}  # as they were read last
        ways = {field: WAYS.get(field, ()) for field in watched}
        self._fast_reader = Reader(nvml, handle, {field: some for field, some in ways.items() if field not in SLOW})
        self._slow_reader = Reader(nvml, handle, {field: some for field, some in ways.items() if field in SLOW})
        self._link_reader = Reader(nvml, handle, {link: link_state(link) for link in range(self._link_count())})

    @property
    def gpu(self) -> Gpu:
        return Gpu(uuid=self.info.uuid, bdf=self.info.bdf)

    def tells(self, field: int) -> bool:
        """False if it is known that it never does."""
        return self._fast_reader.tells(field) or self._slow_reader.tells(field)

    def read(self) -> dict[int, float | None]:
        """Its values by field; what is not among them is blank. Raises SourceError: NVML is to be opened anew."""
        if self.handle is None:
            return {}
        try:
            values = self._fast_reader.read()
        except GpuLost as lost:
            self.trouble = str(lost)
            return {}
        silent = all(value is None for value in values.values())
        self.trouble = self._fast_reader.trouble if silent else ""
        return {} if silent else values | self._slow

    def read_slow(self) -> None:
        """The fields that are dear to read, and the links; these stay as they were where one is not told now."""
        if self.handle is None:
            return
        self._slow = {}
        try:
            self._slow = self._slow_reader.read()
            states = self._link_reader.read()
        except GpuLost:
            return  # the next `read` says so
        if not self._link_reader.trouble:
            self.links = [STATES.get(-1.0 if state is None else state, UNSUPPORTED) for state in states.values()]
            while self.links and self.links[-1] == UNSUPPORTED:
                self.links.pop()

    def check(self) -> None:
        """What can change of who it is."""
        if self.handle is None or self.trouble:
            return
        try:
            self.info = msgspec.structs.replace(self.info, mig=mig_mode(self._nvml, self.handle))
        except self._nvml.NVMLError:
            return  # its samples will say so

    def _link_count(self) -> int:
        if self.handle is None:
            return 0
        try:
            count = Reader(self._nvml, self.handle, {0: (Value(LINK_COUNT),)}).read()[0]
        except GpuLost:
            return 0
        return LINKS if count is None else int(count)
