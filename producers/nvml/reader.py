"""Reading one GPU: everything it tells, with as few calls as that takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from producers.nvml.library import CAUSES, CLOSED, LOST, NEVER, ask, words
from producers.nvml.ways import NAN, NONE_32, NONE_64, Value, Way
from producers.source import SourceError

K = TypeVar("K")

MEMBERS = {  # of the union, by value type, with what says that there is no number
    0: ("dVal", None),
    1: ("uiVal", NONE_32),
    2: ("ulVal", NONE_64),
    3: ("ullVal", NONE_64),
    4: ("sllVal", None),
    5: ("siVal", None),
    6: ("usVal", None),
}


class GpuLost(Exception):
    """The GPU tells nothing any more; the text says why."""


class Reader(Generic[K]):
    """Reads one GPU, each key by the first of its ways that this driver and GPU know; those they do not know are
    never tried again, so that after the first time each read costs one batch and the calls that are needed.
    """

    def __init__(self, nvml: Any, handle: Any, ways: Mapping[K, tuple[Way, ...]]) -> None:
        self.trouble = ""  # of the last read: why some values are missing now
        self._nvml = nvml
        self._handle = handle
        self._keys = tuple(ways)
        self._ways = {key: list(some) for key, some in ways.items() if some}

    def tells(self, key: K) -> bool:
        """False once it is known that this GPU never tells it."""
        return key in self._ways

    def read(self) -> dict[K, float | None]:
        """All keys; None = blank. Raises GpuLost; SourceError: NVML must be opened anew."""
        self.trouble = ""
        told: dict[K, float] = {}
        asking = list(self._ways)
        while asking:
            answers = self._answers(asking)
            asking = []
            for key, answer in answers.items():
                if answer is not None:
                    told[key] = answer
                    continue
                self._ways[key].pop(0)
                if self._ways[key]:
                    asking.append(key)
                else:
                    del self._ways[key]
        values = {key: told.get(key, NAN) for key in self._keys}
        return {key: value if value == value else None for key, value in values.items()}

    def _answers(self, keys: list[K]) -> dict[K, float | None]:
        """What the first way of each of `keys` says: NaN = nothing now, None = it never will."""
        batch = {key: way for key in keys if isinstance(way := self._ways[key][0], Value)}
        answers = self._batch(batch) if batch else {}
        for key in keys:
            way = self._ways[key][0]
            if isinstance(way, Value):
                continue
            try:
                answers[key] = way(self._nvml, self._handle)
            except self._nvml.NVMLError as error:
                answers[key] = self._failed(error)
        return answers

    def _batch(self, batch: Mapping[K, Value]) -> dict[K, float | None]:
        asked = [value.id if value.scope is None else tuple(value) for value in batch.values()]
        try:
            told = ask(self._nvml, "nvmlDeviceGetFieldValues", self._handle, asked)
        except self._nvml.NVMLError as error:
            return dict.fromkeys(batch, self._failed(error))
        if told is None:
            return dict.fromkeys(batch)
        return {key: self._member(one) for key, one in zip(batch, told, strict=True)}

    def _member(self, told: Any) -> float | None:
        if told.nvmlReturn in NEVER:
            return None
        if told.nvmlReturn:
            return self._failed(self._nvml.NVMLError(told.nvmlReturn))
        if told.valueType not in MEMBERS:
            return NAN
        member, none = MEMBERS[told.valueType]
        number = getattr(told.value, member)
        return NAN if number == none else float(number)

    def _failed(self, error: Any) -> float:
        """NaN for an error that may be over the next time."""
        if error.value in LOST:
            raise GpuLost(words(error)) from error
        if error.value in CLOSED:
            raise SourceError(f"nvml: {words(error)}", cause=CAUSES.get(error.value, "")) from error
        self.trouble = words(error)
        return NAN
