"""Which kernel faults are news: reports of one fault by two sources are one, identical ones in a row coalesce."""

from __future__ import annotations

TWO_SOURCES_MS = 2_000  # kernel log and DCGM report the same fault within this time
FORGET_MS = 60_000  # a node's lines may come that much late

Key = tuple[int, int]  # row, code


class FaultLog:
    """The newest counted occurrence of each fault of each GPU."""

    def __init__(self) -> None:
        self._counted: dict[Key, tuple[int, str, int]] = {}  # -> node time in ms, source, stream clock in ms

    def see(self, key: Key, ts: int, source: str, clock_ms: int, coalesce_ms: int) -> str:
        """ "new", "repeat" (within `coalesce_ms` of a counted one) or "double" (another source's report of it)."""
        counted = self._counted.get(key)
        if counted is not None:
            age, other = abs(ts - counted[0]), counted[1]
            if source != other and age <= TWO_SOURCES_MS:
                return "double"
            if age < coalesce_ms:
                return "repeat"
        self._counted[key] = ts, source, clock_ms
        return "new"

    def forget(self, row: int) -> None:
        self._counted = {key: counted for key, counted in self._counted.items() if key[0] != row}

    def expire(self, now_ms: int, coalesce_ms: int) -> None:
        """Drop what nothing can coalesce with any more."""
        keep_ms = coalesce_ms + FORGET_MS
        self._counted = {key: seen for key, seen in self._counted.items() if now_ms - seen[2] < keep_ms}

    def save(self) -> list[list[int | str]]:
        return [[*key, *counted] for key, counted in sorted(self._counted.items())]

    def load(self, saved: list[list[int | str]]) -> None:
        for row, code, ts, source, *clock in saved:
            self._counted[int(row), int(code)] = int(ts), str(source), int(clock[0] if clock else ts)
