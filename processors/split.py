"""A saved state of the node stage, cut down to some of its nodes: how one partition becomes several.

Works on what `NodeTask.checkpoint` packs, so that the stage itself knows nothing of it. A node's state does not
depend on the nodes beside it: what is kept here is what a partition would hold that had seen only these nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from processors import checkpoints
from processors.board import FINDING
from processors.incident import NOBODY
from processors.node import STATE_VERSION
from schemas.log import Checkpoint

Array = npt.NDArray[Any]


def nodes_of(checkpoint: Checkpoint) -> set[str]:
    """The nodes that the state knows. Raises ValueError if it cannot be read."""
    return set(_names(checkpoints.unpack(STATE_VERSION, checkpoint)["roster"]))


def keep(
    checkpoint: Checkpoint, belongs: Callable[[str], bool], *, next_offset: int, with_counts: bool = True
) -> Checkpoint:
    """The state with only those nodes of which `belongs` is true, as that of a log which goes on at `next_offset`.

    Policy and clocks are everybody's. with_counts: of what was dropped or corrected so far; only one part may have
    them, or it would count twice. Raises ValueError if the state cannot be read.
    """
    state = checkpoints.unpack(STATE_VERSION, checkpoint)
    kept = {name for name in _names(state["roster"]) if belongs(name)}
    node_of, uuid_of, bdf_of = state["roster"]["rows"]
    rows = np.array([row for row, node in enumerate(node_of) if node in kept], "i8")
    state["roster"] = {
        "nodes": [node for node in state["roster"]["nodes"] if node[0] in kept],
        "rows": [[column[row] for row in rows.tolist()] for column in (node_of, uuid_of, bdf_of)],
    }
    state["judges"] = _judges(state["judges"], kept, rows)
    state["faults"] = _faults(state["faults"], kept, rows)
    if not with_counts:
        state["counts"] = dict.fromkeys(state["counts"], 0)
    return checkpoints.pack(STATE_VERSION, next_offset, state)


def _names(roster: dict[str, Any]) -> Iterable[str]:
    return {*(node[0] for node in roster["nodes"]), *roster["rows"][0]}


def _judges(saved: dict[str, Any], kept: Container[str], rows: Array) -> dict[str, Any]:
    """See `Judges.save` and `Rows.save`."""
    board = saved["board"]
    return {
        "policy": saved["policy"],
        "counters": {
            field: [_values(blank, "?", rows), _values(base, "f8", rows)]
            for field, (blank, base) in saved["counters"].items()
        },
        "restart_ms": _values(saved.get("restart_ms", bytes(8 * (rows.max(initial=-1) + 1))), "i8", rows),
        "board": {
            "findings": {signal: _finding(own, rows) for signal, own in board["findings"].items()},
            "verdicts": _table(board["verdicts"], rows),
        },
        "presence": _table(saved["presence"], rows),
        "resets": [reset for reset in saved.get("resets", []) if reset[0] in kept],
        "instances": _by_row(saved["instances"], rows),
        "revalidations": _table(saved["revalidations"], rows),
        "predictions": _predictions(saved["predictions"], rows),
        "signals": {
            signal: [_values(sampled, "i8", rows) if sampled else b"", _table(table, rows)]
            for signal, (sampled, table) in saved["signals"].items()
        },
    }


def _predictions(saved: dict[str, Any], rows: Array) -> dict[str, Any]:
    """See `Predictions.save`: histories come with their row first."""
    histories = _by_row(saved["histories"], rows)
    return saved | {"table": _table(saved["table"], rows), "histories": histories}


def _finding(saved: dict[str, Any], rows: Array) -> dict[str, Any]:
    columns = {name: _values(saved[name], column.dtype, rows) for name, column in FINDING.items()}
    return columns | {"quantity": saved["quantity"]}


def _table(saved: dict[str, Any], rows: Array) -> dict[str, Any]:
    """See `Table.save`: vectors come with the rows that they are saved for."""
    return {
        name: [parts[0], _values(parts[1], parts[0], rows)] if len(parts) == 2 else _vector(parts, rows)
        for name, parts in saved.items()
    }


def _vector(parts: Sequence[Any], rows: Array) -> list[Any]:
    dtype, cells, saved_rows, values = parts
    saved_for = np.frombuffer(saved_rows, "i8")
    ours = np.isin(saved_for, rows)
    renumbered = np.searchsorted(rows, saved_for[ours])
    table = np.frombuffer(values, dtype).reshape(cells, saved_for.size)[:, ours]
    return [dtype, cells, renumbered.astype("i8").tobytes(), table.tobytes()]


def _by_row(saved: list[list[Any]], rows: Array) -> list[list[Any]]:
    """See `Instances.save`: the row comes first."""
    number = {row: at for at, row in enumerate(rows.tolist())}
    return [[number[row], *counted] for row, *counted in saved if row in number]


def _faults(saved: dict[str, Any], kept: Container[str], rows: Array) -> dict[str, Any]:
    """See `FaultIntake.save`: rows are in the log's keys, in hits and in what incidents have seen."""
    number = {row: at for at, row in enumerate(rows.tolist())}

    def renumbered(one: dict[str, Any]) -> dict[str, Any]:
        return one | {"row": number.get(one["row"], NOBODY)}

    def incident(one: dict[str, Any]) -> dict[str, Any]:
        return one | {"traces": [renumbered(trace) for trace in one["traces"]]}

    own = [entry for entry in saved["log"] if (entry[3] in kept if entry[0] == NOBODY else entry[0] in number)]
    return {
        "log": [[number.get(row, NOBODY), *entry] for row, *entry in own],
        "shared": {node: [renumbered(hit) for hit in hits] for node, hits in saved["shared"].items() if node in kept},
        "incidents": {
            node: of
            | {key: [incident(one) for one in of[key]] for key in ("open", "resolved") if key in of}
            | ({"told": {number[row]: id for row, id in of["told"].items()}} if "told" in of else {})
            for node, of in saved["incidents"].items()
            if node in kept
        },
    }


def _values(column: bytes, dtype: str, rows: Array) -> bytes:
    return np.frombuffer(column, dtype)[rows].tobytes()
