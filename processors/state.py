"""Per-GPU state as columns: a signal declares them, the store grows, gathers, scatters and checkpoints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Index = Array | slice


class Column(msgspec.Struct, frozen=True):
    """One value per GPU (`cells` = 0) or a vector of `cells` values, of numpy type `dtype`.

    fill: what a fresh row holds; NaN for floats and 0 for integers unless said.
    """

    dtype: str
    cells: int = 0
    fill: float | None = None

    @property
    def initial(self) -> float:
        if self.fill is not None:
            return self.fill
        return float("nan") if np.dtype(self.dtype).kind == "f" else 0

    @property
    def bytes_per_gpu(self) -> int:
        return np.dtype(self.dtype).itemsize * max(self.cells, 1)


class Cells:
    """A vector column seen from some rows: `array[cell, rows]`."""

    __slots__ = ("array", "rows")

    def __init__(self, array: Array, rows: Index) -> None:
        self.array = array
        self.rows = rows

    def positions(self) -> Array:
        """The rows, as numbers."""
        return np.arange(self.array.shape[1])[self.rows] if isinstance(self.rows, slice) else self.rows


class View:
    """A table's columns as attributes, aligned with some rows: `state.x` reads a copy, `state.x = values` writes.

    Vector columns come as `Cells`.
    """

    __slots__ = ("_columns", "_index", "_rows", "_vectors")

    def __init__(self, columns: Mapping[str, Array], index: Index, vectors: Mapping[str, Array], rows: Index) -> None:
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_vectors", vectors)
        object.__setattr__(self, "_rows", rows)

    def __getattr__(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is not None:
            values = column[self._index]
            return values if values.base is None else values.copy()  # what was read stays when it is written
        vector = self._vectors.get(name)
        if vector is None:
            raise AttributeError(f"no column {name!r} is declared; there are {sorted(self._columns)}")
        return Cells(vector, self._rows)

    def __setattr__(self, name: str, values: Any) -> None:
        self._columns[name][self._index] = values


class BlockView(View):
    """The same columns at several ticks of the same GPUs, one after the other, as they stand before the first.

    What is written goes nowhere; `written` tells for which GPUs it would have changed anything.
    """

    __slots__ = ("_changed", "_ticks")

    def __init__(self, view: View, ticks: int) -> None:
        super().__init__(view._columns, view._index, view._vectors, view._rows)
        object.__setattr__(self, "_ticks", ticks)
        object.__setattr__(self, "_changed", [])

    def __getattr__(self, name: str) -> Any:
        values = super().__getattr__(name)
        return values if isinstance(values, Cells) else np.concatenate((values,) * self._ticks)

    def __setattr__(self, name: str, values: Any) -> None:
        before = super().__getattr__(name)
        bits = f"i{before.itemsize}"  # what is equal to the bit may as well not be written: NaN as NaN, -0 as -0
        after = np.broadcast_to(values, before.size * self._ticks).astype(before.dtype).view(bits)
        self._changed.append((after.reshape(self._ticks, -1) != before.view(bits)).any(axis=0))

    def written(self, also: Array) -> Array:
        """[GPU] where, or where `also`."""
        for changed in self._changed:
            also = also | changed
        return also


class Table:
    """The columns of one owner, a row per GPU, grown by doubling. Scalar columns lie together, one block a dtype."""

    def __init__(self, columns: Mapping[str, Column], capacity: int = 0) -> None:
        self.declared = dict(columns)
        self.capacity = capacity
        self._blocks: dict[str, Array] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self.vectors: dict[str, Array] = {}
        counts: dict[str, int] = {}
        for name, column in self.declared.items():
            if column.cells:
                self.vectors[name] = np.full((column.cells, capacity), column.initial, column.dtype)
            else:
                self._places[name] = (column.dtype, counts.setdefault(column.dtype, 0))
                counts[column.dtype] += 1
        for dtype, count in counts.items():
            self._blocks[dtype] = np.empty((count, capacity), dtype)
        self._name_columns()
        self.reset(slice(None))

    def _name_columns(self) -> None:
        self.columns = {name: self._blocks[dtype][at] for name, (dtype, at) in self._places.items()}

    def grow(self, capacity: int) -> None:
        old = self.capacity
        self.capacity = capacity
        for arrays in (self._blocks, self.vectors):
            for key, array in arrays.items():
                arrays[key] = np.empty((array.shape[0], capacity), array.dtype)
                arrays[key][:, :old] = array
        self._name_columns()
        self.reset(slice(old, None))

    def reset(self, rows: Index | int) -> None:
        """Give `rows` their initial values."""
        for name, column in self.declared.items():
            (self.vectors[name] if column.cells else self.columns[name])[..., rows] = column.initial

    def copy(self, source: int, target: int) -> None:
        """Give the row `target` all that the row `source` holds."""
        for arrays in (self._blocks, self.vectors):
            for array in arrays.values():
                array[:, target] = array[:, source]

    def view(self, rows: Index) -> View:
        """The columns at `rows`, in place."""
        return View(self.columns, rows, self.vectors, rows)

    def gather(self, rows: Array) -> dict[str, Array]:
        """The scalar columns of `rows`, copied block by block: arrays aligned with `rows`, by column name."""
        blocks = {dtype: block.take(rows, axis=1) for dtype, block in self._blocks.items()}
        return {name: blocks[dtype][at] for name, (dtype, at) in self._places.items()}

    def scatter(self, rows: Array, gathered: Mapping[str, Array]) -> None:
        for name, values in gathered.items():
            self.columns[name][rows] = values

    def save(self, count: int) -> dict[str, Any]:
        """The first `count` rows, for a checkpoint: vectors only where they differ from their initial value."""
        saved: dict[str, Any] = {}
        for name, column in self.declared.items():
            if not column.cells:
                saved[name] = [column.dtype, self.columns[name][:count].tobytes()]
                continue
            vector = self.vectors[name][:, :count]
            rows = np.flatnonzero((vector != column.initial).any(axis=0)).astype("i8")
            saved[name] = [column.dtype, column.cells, rows.tobytes(), vector[:, rows].tobytes()]
        return saved

    def load(self, count: int, saved: Mapping[str, Any]) -> None:
        """Take over what `save` gave: columns that are new stay fresh, those of another shape are left out."""
        for name, parts in saved.items():
            column = self.declared.get(name)
            if column is None or parts[0] != column.dtype or bool(column.cells) != (len(parts) == 4):
                continue
            if not column.cells:
                self.columns[name][:count] = np.frombuffer(parts[1], column.dtype)
            elif parts[1] == column.cells:
                rows = np.frombuffer(parts[2], "i8")
                values = np.frombuffer(parts[3], column.dtype).reshape(column.cells, rows.size)
                self.vectors[name][:, rows] = values

    @property
    def bytes_per_gpu(self) -> int:
        return sum(column.bytes_per_gpu for column in self.declared.values())
