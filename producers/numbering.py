"""Numbers for what an agent says, so that doubles and gaps show at the other end."""

from __future__ import annotations

from collections import Counter

import msgspec

from producers.source import Observed
from schemas import frames, records

_NUMBERED = msgspec.json.Decoder(records.Inventory | records.KernelFault | records.SourceStatus)


class Numbering:
    """Counts per node, from 1: faults (with inventory and the health of sources), and telemetry apart from them.

    epoch: when the agent started, ms. All sources of a process share one numbering. What has a number already,
    in recordings and simulations, keeps it, and so does what cannot be read.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._faults: Counter[str] = Counter()
        self._telemetry: Counter[str] = Counter()

    def stamp(self, observed: Observed) -> Observed:
        """`observed` with the next number of its sequence."""
        try:
            if observed.kind == frames.KIND:
                frame = frames.decode(observed.value)
                if frame.epoch or frame.seq:
                    return observed
                self._telemetry[observed.node] += 1
                frame.epoch, frame.seq = self.epoch, self._telemetry[observed.node]
                return observed._replace(value=frames.encode(frame))
            if observed.kind in ("inventory", "kernel", "source"):
                said = _NUMBERED.decode(observed.value)
                if said.epoch or said.seq:
                    return observed
                self._faults[observed.node] += 1
                said.epoch, said.seq = self.epoch, self._faults[observed.node]
                return observed._replace(value=records.encode(said))
        except ValueError:
            pass
        return observed
