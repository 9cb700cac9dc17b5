from __future__ import annotations

import pytest

from producers.kit import check_source
from producers.source import Ended, Observed, Source


class Letters(Source):
    """Says one letter with each read."""

    name = "letters"

    def __init__(self, ts: int | None = None) -> None:
        self._ts = ts
        self._at = 0

    async def open(self, after: str | None) -> None:
        self._at = int(after or 0)

    async def read(self) -> list[Observed]:
        if self._at == 3:
            raise Ended
        self._at += 1
        return [Observed("n", "letter", b"abc"[self._at - 1 : self._at], self._ts)]

    def position(self) -> str | None:
        return str(self._at)

    async def close(self) -> None:
        pass


class Forgetful(Letters):
    async def open(self, after: str | None) -> None:
        self._at = 0


class Repeating(Letters):
    async def open(self, after: str | None) -> None:
        self._at = max(int(after or 0) - 1, 0)


class Undead(Letters):
    async def read(self) -> list[Observed]:
        try:
            return await super().read()
        except Ended:
            self._at = 0
            raise


class ClosesOnce(Letters):
    closed = False

    async def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


def test_a_sound_source_passes_and_what_it_said_is_returned() -> None:
    assert [one.value for one in check_source(Letters)] == [b"a", b"b", b"c"]
    assert [one.value for one in check_source(Letters, reads=2)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (Forgetful, "resumed at 1, letters does not say the rest"),
        (Repeating, "resumed at 1, letters does not say the rest"),
        (Undead, "had ended, and went on"),
        (ClosesOnce, "closed twice"),
        (lambda: Letters(ts=5), "does not own the clock"),
    ],
)
def test_a_broken_contract_is_named(broken: type[Source], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_source(broken)
