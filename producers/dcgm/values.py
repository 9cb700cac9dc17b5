"""Values as the engine hands them over: read from its memory, freed from everything that is no measurement."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from schemas.fields import BLANK_FP64, BLANK_INT64, SMALL_BLANKS

DOUBLE, NUMBERS = "d", "it"

Entity = tuple[int, int]  # DCGM's kind of entity, and its number
GPU, GPU_INSTANCE, COMPUTE_INSTANCE = 1, 4, 5


class Value(NamedTuple):
    """ts: when the engine took it, us since the epoch; 0 = it has none. value: None = blank."""

    ts: int
    value: float | None


Values = dict[Entity, dict[int, list[Value]]]


def measured(type: str, status: int, number: float) -> float | None:
    """`number` if it is a measurement, None if it only tells why there is none."""
    if status != 0:
        return None
    if type == DOUBLE:
        return number if number < BLANK_FP64 else None  # NaN is below nothing
    return None if type not in NUMBERS or number >= BLANK_INT64 or number in SMALL_BLANKS else number


class Collector:
    """Takes what the engine enumerates. `callback` is to be passed to it; what has come is in `take()`.

    The bindings read each attribute of each value through Python; with hundreds of values a second that is most of
    what an agent would cost. So the memory is read at the offsets that the bindings declare.
    """

    def __init__(self, agent: Any, structs: Any) -> None:
        self._layout = Layout(structs.c_dcgmFieldValue_v1)
        self._values: Values = {}
        self._failure: Exception | None = None
        self.callback = agent.dcgmFieldValueEntityEnumeration_f(self._enumerated)

    def take(self) -> Values:
        """All values since the last time, by entity and field, oldest first."""
        values, self._values = self._values, {}
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return values

    def _enumerated(self, kind: int, number: int, first: Any, count: int, _: Any) -> int:
        try:
            row = self._values.setdefault((kind, number), {})
            for field, value in self._layout.read(ctypes.addressof(first.contents), count):
                row.setdefault(field, []).append(value)
        except Exception as error:  # it would be lost in the library that has called
            self._failure = error
            return 1
        return 0


class Layout:
    """Where things stand in a `c_dcgmFieldValue_v1`."""

    def __init__(self, declared: Any) -> None:
        self._size = ctypes.sizeof(declared)
        head = _format(declared, {"fieldId": "H", "fieldType": "h", "status": "i", "ts": "q"})
        at = declared.value.offset - struct.calcsize(head)
        self._read_integer: Callable[[Any, int], tuple[Any, ...]] = struct.Struct(f"{head}{at}xq").unpack_from
        self._read_double: Callable[[Any, int], tuple[Any, ...]] = struct.Struct(f"{head}{at}xd").unpack_from

    def read(self, address: int, count: int) -> Iterator[tuple[int, Value]]:
        """The fields and values of `count` structures."""
        memory = (ctypes.c_char * (count * self._size)).from_address(address)
        for at in range(0, count * self._size, self._size):
            field, type, status, ts, number = self._read_integer(memory, at)
            letter = chr(type)
            if letter == DOUBLE:
                number = self._read_double(memory, at)[-1]
            yield field, Value(ts, measured(letter, status, number))


def _format(declared: Any, codes: dict[str, str]) -> str:
    """A format of `struct` for these members, in the order of the memory."""
    text = "="
    for name, code in codes.items():
        text += f"{getattr(declared, name).offset - struct.calcsize(text)}x{code}"
    return text
