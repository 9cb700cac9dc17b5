"""What nvbandwidth prints, as text or (`-j`) as JSON: a table of GB/s from each GPU to each other one.

Read are copies between two GPUs in one direction, by copy engines or by kernels, for reading or writing; of several
such tests of one pair the best counts, as a link is never faster than it is. Left alone are copies in both directions
at once, to and from the host, and latencies. A GPU is known by its PCI address: the text names it ("Device 0: ..."),
JSON since version 0.8 ("GPU Device list").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas.kernel_lines import canonical_bdf
from schemas.measured import Measured, Place, Report, gb_per_s

TOOL = "nvbandwidth"
_BDF = r"\((?P<bdf>[0-9A-Fa-f:.]{7,16})\)"
_DEVICE = re.compile(rf"Device (?P<number>[0-9]{{1,4}}): .{{0,200}}?{_BDF}\s*")
_PROCESS = re.compile(
    rf"Process +(?P<number>[0-9]{{1,4}}) \((?P<node>[^)\s]{{1,255}})\): device [0-9]{{1,4}}: .{{0,200}}?{_BDF}.*"
)
_LISTED = re.compile(rf"(?P<number>[0-9]{{1,4}}): .{{0,200}}?{_BDF}(?:: \((?P<node>[^)\s]{{1,255}})\))?\s*")
_ONE_WAY = re.compile(r"GPU\(row\) (?P<arrow>->|<-) GPU\(column\) bandwidth")
_NUMBERS = re.compile(r"\s*[0-9]{1,4}(?:\s+[0-9]{1,4})*\s*")
_UNNAMED = "GPUs are named by number alone, which says nothing for sure: take the text, or JSON of version 0.8 or later"


class _Table(NamedTuple):
    """cells: (row, column, figure)."""

    arrow: str
    cells: list[tuple[int, int, str]]


def looks_like(text: str) -> bool:
    return "nvbandwidth" in text or _ONE_WAY.search(text) is not None


def parse(text: str) -> Report:
    """Never raises."""
    document = _document(text)
    if document is None:
        places, tables = _places(text.splitlines(), _DEVICE, _PROCESS), list(_tables(text.splitlines()))
    else:
        listed = document.get("GPU Device list")
        lines = [line for line in listed if isinstance(line, str)] if isinstance(listed, list) else []
        places, tables = _places(lines, _LISTED), list(_json_tables(document))
    best: dict[tuple[Place, Place], float] = {}
    unnamed = False
    for arrow, cells in tables:
        for row, column, figure in cells:
            value = gb_per_s(figure)
            if value is None or row == column:
                continue
            if row not in places or column not in places:
                unnamed = True
                continue
            way = (places[row], places[column]) if arrow == "->" else (places[column], places[row])
            best[way] = max(value, best.get(way, 0.0))
    notes = [_UNNAMED] if unnamed else []
    if not tables:
        notes.append("no test between two GPUs in one direction: run device_to_device_memcpy_read_ce")
    return Report(TOOL, [Measured(gpu, peer, value) for (gpu, peer), value in best.items() if gpu != peer], notes)


def _places(lines: list[str], *patterns: re.Pattern[str]) -> dict[int, Place]:
    found = {}
    for line in lines:
        for pattern in patterns:
            match = pattern.fullmatch(line.strip())
            bdf = canonical_bdf(match["bdf"]) if match else None
            if match and bdf:
                found[int(match["number"])] = Place(match.groupdict().get("node") or "", bdf)
    return found


def _tables(lines: list[str]) -> Iterator[_Table]:
    """A table is a line that says what it holds, one with the numbers of its columns, then its rows."""
    arrow, columns, cells = "", list[int](), list[tuple[int, int, str]]()
    for line in [*lines, ""]:
        if arrow and not columns and _NUMBERS.fullmatch(line):
            columns = [int(number) for number in line.split()]
            continue
        first, *figures = line.split() or [""]
        if columns and len(figures) == len(columns) and first.isascii() and first.isdecimal() and len(first) < 5:
            cells += [(int(first), column, figure) for column, figure in zip(columns, figures, strict=True)]
            continue
        if columns:
            yield _Table(arrow, cells)
            arrow, columns, cells = "", [], []
        if one_way := _ONE_WAY.search(line):
            arrow = one_way["arrow"]


def _document(text: str) -> dict[str, Any] | None:
    """The JSON of the tool; warnings may stand before it. None: there is none."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        document, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    inner = document.get("nvbandwidth") if isinstance(document, dict) else None
    return inner if isinstance(inner, dict) else None


def _json_tables(document: dict[str, Any]) -> Iterator[_Table]:
    tests = document.get("testcases")
    for test in tests if isinstance(tests, list) else ():
        if not isinstance(test, dict):
            continue
        one_way = _ONE_WAY.search(str(test.get("bandwidth_description")))
        matrix = test.get("bandwidth_matrix")
        if one_way and isinstance(matrix, list):
            rows = [row if isinstance(row, list) else [] for row in matrix]
            cells = [(at, column, str(figure)) for at, row in enumerate(rows) for column, figure in enumerate(row)]
            yield _Table(one_way["arrow"], cells)
