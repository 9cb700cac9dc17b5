"""Reading one GPU: everything it tells, with as few calls as that takes, and none more often than it is worth."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from producers.nvml.library import CAUSES, CLOSED, LOST, NEVER, ask, words
from producers.nvml.ways import NAN, NONE_32, NONE_64, Asking, Value
from producers.source import SourceError

K = TypeVar("K")

LEEWAY_S = 0.5  # what is due that soon is asked for now: samples do not come to the millisecond
FAILED_S = 5.0  # from a failure to the next asking, at most
NOW = float("-inf")  # due since ever

# nvmlFieldValue_t: id, scope, timestamp, latency, type, return code, value. The structure of the bindings takes a
# call in Python for each member.
FIELD_VALUE = struct.Struct("IIqqII8s")
MEMBERS = {  # of the union, by value type, with what says that there is no number
    0: (struct.Struct("d"), None),
    1: (struct.Struct("I"), NONE_32),
    2: (struct.Struct("L"), NONE_64),
    3: (struct.Struct("Q"), NONE_64),
    4: (struct.Struct("q"), None),
    5: (struct.Struct("i"), None),
    6: (struct.Struct("H"), None),
}


class GpuLost(Exception):
    """The GPU tells nothing any more; the text says why."""


class Reader(Generic[K]):
    """Reads one GPU, each key by the first of its ways that this driver and GPU know; those they do not know are
    never tried again, so that after the first time each read costs at most one batch and the calls that are needed.

    The first read asks for all. Later ones ask for what is due by its `every_s`, and repeat the others, unless a
    call failed: then the value is blank, and due again after FAILED_S at most. When the GPU tells nothing at all, or
    is lost, all is blank, and due at once.

    turn: which of the GPUs it is. What is not due with each sample is spread over seconds by key and turn, so that
    none of them has more to do than the others.
    """

    def __init__(self, nvml: Any, handle: Any, askings: Mapping[K, Asking], turn: int = 0) -> None:
        self.trouble = ""  # of the last read: why some of the values that were asked for are missing
        self.silent = False  # of the last read: whether that is all of them
        self._nvml = nvml
        self._handle = handle
        self._ways = {key: list(asking.ways) for key, asking in askings.items() if asking.ways}
        self._every_s = {key: asking.every_s for key, asking in askings.items()}
        self._turns: dict[K, int] = {}  # in which second of every `every_s`
        places: Counter[int] = Counter()
        for key, asking in askings.items():
            if asking.every_s:
                self._turns[key] = (turn + places[asking.every_s]) % asking.every_s
                places[asking.every_s] += not asking.together
        self._began: float | None = None  # turns are counted from there
        self._forget()

    def tells(self, key: K) -> bool:
        """False once it is known that this GPU never tells it."""
        return key in self._ways

    def read(self, at: float = 0.0) -> dict[K, float | None]:
        """All keys; None = blank. at: the time, in seconds, of a clock that never steps.

        Raises GpuLost; SourceError: NVML must be opened anew.
        """
        if self._began is None:
            self._began = at
        self.trouble = ""
        soon = at + LEEWAY_S
        try:
            told = self._ask([key for key, due in self._due.items() if due <= soon])
        except GpuLost:
            self._forget()
            raise
        self.silent = bool(self.trouble) and all(value != value for value in told.values())
        if self.silent:
            self._forget()
            return dict(self._values)
        for key, value in told.items():
            failed = value != value
            self._values[key] = None if failed else value
            if every_s := self._every_s[key]:
                since = (soon - self._began - self._turns[key]) % every_s
                due = soon - since + every_s
                self._due[key] = min(due, at + FAILED_S) if failed else due
        return dict(self._values)

    def _forget(self) -> None:
        self._values: dict[K, float | None] = dict.fromkeys(self._every_s)
        self._due: dict[K, float] = dict.fromkeys(self._ways, NOW)

    def _ask(self, asking: list[K]) -> dict[K, float]:
        """What each of `asking` is now: NaN = nothing. Those that never tell are left out, now and later."""
        told: dict[K, float] = {}
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
                    del self._ways[key], self._due[key]
                    self._values[key] = None
        return told

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
        values = FIELD_VALUE.iter_unpack(told)
        return {key: self._member(*one[4:]) for key, one in zip(batch, values, strict=True)}

    def _member(self, type: int, code: int, value: bytes) -> float | None:
        if code in NEVER:
            return None
        if code:
            return self._failed(self._nvml.NVMLError(code))
        if type not in MEMBERS:
            return NAN
        member, none = MEMBERS[type]
        (number,) = member.unpack_from(value)
        return NAN if number == none else float(number)

    def _failed(self, error: Any) -> float:
        """NaN for an error that may be over the next time."""
        if error.value in LOST:
            raise GpuLost(words(error)) from error
        if error.value in CLOSED:
            raise SourceError(f"nvml: {words(error)}", cause=CAUSES.get(error.value, "")) from error
        self.trouble = words(error)
        return NAN
