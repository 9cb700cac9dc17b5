"""Numbers for what an agent says, so that doubles and gaps show at the other end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from producers.source import Observed
from schemas import frames, records

NUMBERED = ("inventory", "kernel", "health", "violation", "links", "diagnostic", "command-result", "source")

_numbered = msgspec.json.Decoder(
    records.Inventory
    | records.KernelFault
    | records.HealthIncident
    | records.PolicyViolation
    | records.LinkStatus
    | records.Diagnostic
    | records.CommandResult
    | records.SourceStatus
)


class Numbering:
    """Counts per node, from 1: faults (with inventory and the health of sources), and telemetry apart from them.

    epoch: when the agent started, ms. All sources of a process share one numbering. What has a number already,
    in recordings and simulations, keeps it, and so does what cannot be read.

    faults, telemetry: the newest number of each node; given where the numbers of an earlier agent go on.
    """

    def __init__(
        self, epoch: int, *, faults: Iterable[tuple[str, int]] = (), telemetry: Iterable[tuple[str, int]] = ()
    ) -> None:
        self.epoch = epoch
        self.faults: Counter[str] = Counter(dict(faults))
        self.telemetry: Counter[str] = Counter(dict(telemetry))

    def stamp(self, observed: Observed) -> Observed:
        """`observed` with the next number of its sequence."""
        try:
            if observed.kind == frames.KIND:
                frame = frames.decode(observed.value)
                if frame.epoch or frame.seq:
                    return observed
                self.telemetry[observed.node] += 1
                frame.epoch, frame.seq = self.epoch, self.telemetry[observed.node]
                return observed._replace(value=frames.encode(frame))
            if observed.kind in NUMBERED:
                said = _numbered.decode(observed.value)
                if said.epoch or said.seq:
                    return observed
                self.faults[observed.node] += 1
                said.epoch, said.seq = self.epoch, self.faults[observed.node]
                return observed._replace(value=records.encode(said))
        except ValueError:
            pass
        return observed
