"""One round of values as the columns of a sample: what is old or missing is blank."""

from __future__ import annotations

from collections.abc import Sequence

from producers.dcgm.values import GPU, Value, Values

STALE_S = 10.0
STALE_US = int(1e6 * STALE_S)
NO_VALUE = Value(0, None)


class Freshness:
    """The engine goes on showing a value that it cannot renew; only its time tells.

    Times are compared with one another and never with this machine's, which may be set another way.
    """

    def __init__(self) -> None:
        self._newest = 0
        self._since: float | None = None

    def columns(
        self, values: Values, gpus: Sequence[int], fields: Sequence[int], now_s: float
    ) -> dict[int, list[float | None]]:
        """Of each field the values of `gpus`. now_s: of a clock that nobody sets."""
        rows = [{field: series[-1] for field, series in values.get((GPU, gpu), {}).items()} for gpu in gpus]
        newest = max((row[field].ts for row in rows for field in fields if field in row), default=0)
        if newest != self._newest or self._since is None:
            self._newest, self._since = newest, now_s
        oldest = newest - STALE_US
        stopped = self.stopped(now_s)
        return {
            field: [None if stopped or value.ts < oldest else value.value for value in _column(rows, field)]
            for field in fields
        }

    def stopped(self, now_s: float) -> bool:
        """The engine has not taken a sample of anything for a while."""
        return self._newest == 0 or (self._since is not None and now_s - self._since > STALE_S)


def _column(rows: Sequence[dict[int, Value]], field: int) -> list[Value]:
    return [row.get(field, NO_VALUE) for row in rows]
