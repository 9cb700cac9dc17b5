"""Decisions as JSON Lines, for programs: one object per decision, in the order they were made.

    {"offset":41,"ts":1767225600000,"cluster":"default","node":"n1","uuid":"GPU-...","bdf":"0000:18:00",
     "weight":0.0,"score":0.0,"state":"draining","action":"evict","condition":"failed","held_by":"",
     "reasons":["Xid 79: ..."],"policy":"default@..."}

At least once: after a crash the newest lines may come again, with the same `offset`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec

from schemas import records, topics
from schemas.log import Record
from sinks.sink import Sink

_decode = msgspec.json.Decoder(records.Decision).decode
_encode = msgspec.json.Encoder().encode


class DecisionStream(Sink):
    """Writes to `out` (standard output, a file, a pipe), flushed with every batch.

    Raises BrokenPipeError when nobody reads any more: there is no point in trying again.
    """

    name = "decision-stream"
    topics = (topics.DECISIONS,)

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._written = -1

    async def apply(self, topic: str, records: Sequence[Record]) -> None:
        fresh = [record for record in records if record.offset > self._written and record.value]
        if fresh:
            await asyncio.to_thread(self._write, b"".join(render(record) for record in fresh))
        self._written = max(self._written, records[-1].offset)

    def _write(self, lines: bytes) -> None:
        """In a thread: a reader that is slow holds up nothing but this stream."""
        self._out.write(lines)
        self._out.flush()


def render(record: Record) -> bytes:
    """The line for one decision record, newline included."""
    decision = _decode(record.value)
    line: dict[str, Any] = {
        "offset": record.offset,
        "ts": decision.ts,
        "cluster": decision.cluster,
        "node": decision.node,
        "uuid": decision.uuid,
        "bdf": decision.bdf,
        "weight": decision.weight,
        "score": decision.score,
        "state": decision.state,
        "action": decision.action,
        "condition": decision.condition,
        "held_by": decision.held_by,
        "cause": decision.cause,
        "reasons": [reason.text or f"{reason.signal}: {reason.level}" for reason in decision.reasons],
        "policy": decision.policy,
    }
    return _encode(line) + b"\n"
