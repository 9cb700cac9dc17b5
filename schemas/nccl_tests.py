"""What the NCCL tests print (`all_reduce_perf` and the others): bus bandwidth by message size, and who took part.

Bus bandwidth is algorithm bandwidth times what the collective sends over each link, so that it can be held against
the speed of a link. Small messages are slowed by latency: the best of all sizes counts. A run of two ranks measures
one pair. A run of more is as slow as its slowest pair and does not say which that is: it measures none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.counts import counted
from schemas.kernel_lines import canonical_bdf
from schemas.measured import Measured, Place, Report, gb_per_s

TOOL = "nccl-tests"
_START = re.compile(r"# Using devices")
_RANK = re.compile(
    r"#\s+Rank\s+(?P<rank>[0-9]{1,6}) (?:Group\s+[0-9]{1,6} )?Pid\s+[0-9]{1,10} on\s+(?P<node>\S{1,255}) "
    r"device\s+[0-9]{1,4} \[(?P<bus>[0-9A-Fa-fx:.]{1,20})\]"
)
_HEADER = re.compile(r"#\s+size\s.*\bbusbw\b.*")
_ROW = re.compile(r"(?:^|[>:])\s*(?P<cells>[0-9]{1,20}\s.*)")
_WRONG = re.compile(r"# Out of bounds values : (?P<count>[0-9]{1,20}) FAILED")


def looks_like(text: str) -> bool:
    return _RANK.search(text) is not None or ("# Using devices" in text and "busbw" in text)


def parse(text: str) -> Report:
    """All runs of a text, which may hold several. Never raises."""
    measured: list[Measured] = []
    notes: list[str] = []
    for run in _runs(text.splitlines()):
        _read(run, measured, notes)
    return Report(TOOL, measured, list(dict.fromkeys(notes)))


def _runs(lines: list[str]) -> Iterator[list[str]]:
    run: list[str] = []
    for line in lines:
        if _START.search(line):
            yield run
            run = []
        run.append(line)
    yield run


def _read(run: list[str], measured: list[Measured], notes: list[str]) -> None:
    places: dict[int, Place] = {}
    columns: list[int] = []
    width, best = 0, 0.0
    for line in run:
        if rank := _RANK.search(line):
            places[int(rank["rank"])] = Place(rank["node"], canonical_bdf(rank["bus"]) or "")
        elif header := _HEADER.search(line):
            names = header[0].lstrip("#").split()
            width, columns = len(names), [at for at, name in enumerate(names) if name == "busbw"]
        elif wrong := _WRONG.search(line):
            notes.append(f"{counted(int(wrong['count']), 'value')} came out wrong")
        elif columns and (row := _ROW.search(line)):
            cells = row["cells"].split()
            figures = [gb_per_s(cells[at]) for at in columns] if len(cells) >= width else []
            best = max([best, *(figure for figure in figures if figure is not None)])
    gpus = sorted(set(places.values()))
    if best == 0.0:
        if places:
            notes.append("a run without a bandwidth")
    elif not all(place.bdf for place in gpus):
        notes.append("GPUs are named by bus number alone: take NCCL tests that print whole PCI addresses")
    elif len(gpus) != 2:
        notes.append(
            f"a run of {counted(len(gpus), 'GPU')} measures no pair: run it with two at a time, or nvbandwidth"
        )
    else:
        measured.append(Measured(gpus[0], gpus[1], best))
