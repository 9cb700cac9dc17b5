"""The contract of a source: outside -> observations. It owns one deadline, says what it lost, invents nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple


class Ended(Exception):
    """A finite source has said everything."""


class SourceError(Exception):
    """The outside cannot be read now; the text says what, where and how to fix it. Read again later.

    cause: one of `schemas.sources.CAUSES`, "" where none of them is known to fit.
    """

    def __init__(self, what: str, *, cause: str = "") -> None:
        super().__init__(what)
        self.cause = cause


class Observed(NamedTuple):
    """One observation, encoded. ts: append time in ms where the source owns the clock (recording, simulator)."""

    node: str
    kind: str
    value: bytes
    ts: int | None = None


class Source(ABC):
    """Reads one outside thing. Runs under the supervisor, which applies `deadline_s` to every call.

    Guarantees: a position returned by `position()` covers exactly what `read` has returned; opening with it
    resumes *behind* it. A value that is missing outside is missing (or blank) here.
    """

    name: str
    deadline_s: ClassVar[float] = 10.0
    owns_clock: bool = False

    @abstractmethod
    async def open(self, after: str | None) -> None:
        """Get ready; resume behind `after`, a position of an earlier run. Raises SourceError."""

    @abstractmethod
    async def read(self) -> list[Observed]:
        """What is there now, at once or after a short wait; [] = nothing new, no error.

        Raises SourceError: could not be read, try again. Ended: there will never be more.
        """

    def position(self) -> str | None:
        """Where to resume after everything `read` has returned so far; None = cannot resume."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything; works after any failure, and twice."""
