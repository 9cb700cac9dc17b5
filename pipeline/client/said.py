"""One decision as a view needs it, however it came. What else stands in it, newer versions' words too, is left out."""

from __future__ import annotations

import msgspec

from pipeline.kafka import wire
from schemas.log import Record


class Said(msgspec.Struct, frozen=True):
    """The weight of one GPU, or that nothing is known under this key any more (gone).

    offset: in the topic. origin: what orders it. condition, state: in words, to explain a weight of 0.
    """

    key: str
    offset: int
    origin: str = ""
    ts: int = 0
    node: str = ""
    bdf: str = ""
    weight: float | None = None
    condition: str = ""
    state: str = ""
    gone: bool = False

    @property
    def readable(self) -> bool:
        return self.gone or (self.weight is not None and 0.0 <= self.weight <= 1.0)

    def record(self) -> Record:
        """What tells whether it is news."""
        return Record(self.offset, self.ts, self.key, "", b"", wire.parse_origin(self.origin.encode()))


class _Value(msgspec.Struct):
    node: str
    weight: float
    condition: str
    state: str
    bdf: str = ""


def of_record(record: Record) -> Said:
    """Raises ValueError: it is no decision."""
    origin = str(record.origin or "")
    if not record.value:
        return Said(record.key, record.offset, origin, record.ts, gone=True)
    value = _decode(record.value)
    return Said(
        record.key,
        record.offset,
        origin,
        record.ts,
        value.node,
        value.bdf,
        value.weight,
        value.condition,
        value.state,
    )


_decode = msgspec.json.Decoder(_Value).decode
