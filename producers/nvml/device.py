"""One GPU of an opened NVML: what it says each time, and what it has said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from producers.nvml.inventory import mig_mode
from producers.nvml.reader import GpuLost, Reader
from producers.nvml.ways import LINK_COUNT, WAYS, Asking, Value, link_state
from schemas.fields import LINKS
from schemas.records import Gpu, GpuInfo

STATES = {0.0: "down", 1.0: "up", 2.0: "up", 3.0: "disabled"}
UNSUPPORTED = "unsupported"

Key = int | str  # a field, or a link


class Device:
    """handle: None while it cannot be opened; then trouble says why. turn: which of the GPUs it is (`Reader`).

    trouble: why there is no value of it at all; else empty. links: the states of its NVLinks; [] = not known.
    """

    def __init__(
        self, nvml: Any, info: GpuInfo, handle: Any, watched: Iterable[int], trouble: str = "", turn: int = 0
    ) -> None:
        self.info = info
        self.handle = handle
        self.trouble = trouble
        self.links: list[str] = []
        self._nvml = nvml
        self._links = {f"link {link}": link for link in range(self._link_count())}
        askings: dict[Key, Asking] = {field: WAYS[field] for field in watched if field in WAYS}
        askings |= {key: link_state(link) for key, link in self._links.items()}
        self._reader: Reader[Key] = Reader(nvml, handle, askings, turn)

    @property
    def gpu(self) -> Gpu:
        return Gpu(uuid=self.info.uuid, bdf=self.info.bdf)

    def tells(self, field: int) -> bool:
        """False if it is known that it never does."""
        return self._reader.tells(field)

    def read(self, at: float) -> Mapping[Key, float | None]:
        """Its values by field; what is not among them is blank. at: the time in seconds, see `Reader`.

        Raises SourceError: NVML is to be opened anew.
        """
        if self.handle is None:
            return {}
        try:
            values = self._reader.read(at)
        except GpuLost as lost:
            self.trouble = str(lost)
            return {}
        self.trouble = self._reader.trouble if self._reader.silent else ""
        self._take_links(values)
        return values

    def check(self) -> None:
        """What can change of who it is."""
        if self.handle is None or self.trouble:
            return
        try:
            self.info = msgspec.structs.replace(self.info, mig=mig_mode(self._nvml, self.handle))
        except self._nvml.NVMLError:
            return  # its samples will say so

    def _take_links(self, values: Mapping[Key, float | None]) -> None:
        """The states of the links; all stay as they were while one is not told."""
        states = []
        for key in self._links:
            state = values[key]
            if state is None and self._reader.tells(key):
                return
            states.append(STATES.get(-1.0 if state is None else state, UNSUPPORTED))
        while states and states[-1] == UNSUPPORTED:
            states.pop()
        self.links = states

    def _link_count(self) -> int:
        if self.handle is None:
            return 0
        try:
            count = Reader(self._nvml, self.handle, {0: Asking((Value(LINK_COUNT),))}).read()[0]
        except GpuLost:
            return 0
        return LINKS if count is None else int(count)
