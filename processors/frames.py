"""Frames that were accepted, many at a time."""

from __future__ import annotations

from collections.abc import Container
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.layout import Shape
from processors.node_state import Seat
from schemas.log import Record

Array = npt.NDArray[Any]


class Frames(NamedTuple):
    """Frames that were accepted, N of them, as columns: their parts, their records, and where they belong.

    ticks: [N, T]. shift_ms: what to subtract from them. clock_ms, credit_ms: the stream clock and the credited time
    when they came.
    """

    ticks: Array
    gauge_values: list[bytes]
    counter_values: list[bytes]
    change_at: list[bytes]
    change_values: list[bytes]
    records: list[Record]
    seats: list[Seat]
    shift_ms: Array
    clock_ms: Array
    credit_ms: Array

    @classmethod
    def of(cls, shape: Shape, parts: list[Any]) -> Frames:
        """From the parts of each frame, one frame after the other."""
        ticks, *others, shift_ms, clock_ms, credit_ms = (
            parts[at :: len(cls._fields)] for at in range(len(cls._fields))
        )
        count = len(ticks)
        times = np.fromiter(chain.from_iterable(ticks), "i8", count * shape.ticks).reshape(count, shape.ticks)
        numbers = (np.fromiter(column, "i8", count) for column in (shift_ms, clock_ms, credit_ms))
        return cls._make((times, *others, *numbers))

    def without(self, some: Container[int]) -> Frames:
        """All but those of these numbers."""
        kept = [number for number in range(len(self.records)) if number not in some]
        return Frames._make(_chosen(column, kept) for column in self)


def _chosen(column: Any, numbers: list[int]) -> Any:
    return column[numbers] if isinstance(column, np.ndarray) else [column[number] for number in numbers]
