"""How far a long run is: a bar on a terminal, else a line every ten percent. On standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.progress

STEP = 10  # percent


class Progress(Protocol):
    """Told what has been done. total may be set anew."""

    total: int

    def advance(self, count: int) -> None: ...


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Shown from the first advance to the end of the block."""
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    from rich import progress as shown
    from rich.console import Console

    columns = (shown.TextColumn(what), shown.BarColumn(), shown.TaskProgressColumn(), shown.TimeRemainingColumn())
    with shown.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: rich.progress.Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    @property
    def total(self) -> int:
        return int(self._bar.tasks[self._task].total or 0)

    @total.setter
    def total(self, count: int) -> None:
        self._bar.update(self._task, total=count)

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)


class _Lines:
    def __init__(self, what: str) -> None:
        self.total = 0
        self._what = what
        self._done = 0
        self._told = 0

    def advance(self, count: int) -> None:
        self._done += count
        percent = 100 * self._done // self.total if self.total else 0
        if percent >= self._told + STEP:
            self._told = percent - percent % STEP
            print(f"{self._what}: {self._told} %", file=sys.stderr, flush=True)
