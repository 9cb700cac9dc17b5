"""Whether a telemetry frame tells of a fault: a counter or flag of the fault fields is another than before."""

from __future__ import annotations

from producers.sampling import URGENT
from schemas import frames


class News:
    """Remembers what each node said last."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[tuple[int, str], float]] = {}

    def told(self, data: bytes) -> bool:
        """The first frame of a node and what is no frame tell nothing. A value that turns blank tells something."""
        try:
            frame = frames.decode(data)
        except ValueError:
            return False
        before, now, news = self._newest.get(frame.node, {}), {}, False
        width = len(frame.gpus)
        changes = frames.floats("I", frame.change_at)
        urgent = [(row, field) for row, field in enumerate(frame.counters) if field in URGENT]
        values = frames.floats("d", frame.counter_values)
        size = len(values)
        for row, field in urgent:
            for at, gpu in enumerate(frame.gpus):
                cell = row * width + at
                name = field, gpu.uuid or gpu.bdf
                news = news or _differs(before.get(name, values[cell]), values[cell])
                now[name] = values[cell]
        rows = {row for row, _ in urgent}
        for position, value in zip(changes, frames.floats("d", frame.change_values), strict=True):
            row, at = divmod(position % size, width)
            if row in rows:
                news = True
                gpu = frame.gpus[at]
                now[frame.counters[row], gpu.uuid or gpu.bdf] = value
        self._newest[frame.node] = now
        return news


def _differs(before: float, now: float) -> bool:
    return before != now and not (before != before and now != now)
