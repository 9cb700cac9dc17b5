"""What the records of `fleet-events` hold: decoded, and refused where they cannot be true."""

from __future__ import annotations

from typing import Any

import msgspec

from processors.versions import check_version
from schemas.log import Record
from schemas.records import (
    Bandwidth,
    CommandResult,
    ConditionChange,
    Gone,
    Inventory,
    LinkStatus,
    Operator,
    Placement,
    PolicyChange,
    Revalidated,
    Serving,
    Tick,
    gpu_key,
)

_KINDS: dict[str, msgspec.json.Decoder[Any]] = {
    "condition": msgspec.json.Decoder(ConditionChange),
    "gone": msgspec.json.Decoder(Gone),
    "inventory": msgspec.json.Decoder(Inventory),
    "links": msgspec.json.Decoder(LinkStatus),
    "bandwidth": msgspec.json.Decoder(Bandwidth),
    "placement": msgspec.json.Decoder(Placement),
    "command-result": msgspec.json.Decoder(CommandResult),
    "serving": msgspec.json.Decoder(Serving),
    "revalidated": msgspec.json.Decoder(Revalidated),
    "operator": msgspec.json.Decoder(Operator),
    "policy": msgspec.json.Decoder(PolicyChange),
    "tick": msgspec.json.Decoder(Tick),
}


def fleet_event(record: Record) -> Any:
    """The event in `record`. Raises ValueError, RecursionError; OverflowError: no checkpoint can hold it."""
    decoder = _KINDS.get(record.kind)
    if decoder is None:
        raise ValueError(f"records of kind {record.kind!r} are not understood")
    event = decoder.decode(record.value)
    check_version(event.v)
    if isinstance(event, ConditionChange):
        _check_judgement(record, event)
    if isinstance(event, Bandwidth) and not 0.0 <= event.gb_per_s < 1e6:
        raise ValueError(f"a bandwidth that cannot be: {event.gb_per_s} GB/s")
    if not isinstance(event, Tick):
        msgspec.msgpack.encode(event)
    return event


def _check_judgement(record: Record, change: ConditionChange) -> None:
    if not change.uuid and not change.bdf:
        raise ValueError("a judgement that names no GPU: neither uuid nor bdf")
    if not (0.0 <= change.score <= 1.0 and 0.0 <= change.held <= 1.0):
        raise ValueError(f"score {change.score} or held score {change.held} is not between 0 and 1")
    if record.key != (key := gpu_key(change.node, change.uuid, change.bdf)):
        raise ValueError(f"key {record.key!r} is not the GPU that the record is of, {key!r}")
