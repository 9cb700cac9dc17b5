"""Whether a derived record is what its topic holds: anybody who may write to a topic can put anything there.

What sources and operators say (`observations`, `fleet-events`) is judged by the stages that read it, and dead
letters by nobody: a letter about a letter would never end.
"""

from __future__ import annotations

import msgspec

from schemas import records, topics
from schemas.log import Record
from schemas.records import gpu_key

_TYPES: dict[str, type[records.Record]] = {
    topics.XIDS: records.Xid,
    topics.INVENTORY: records.Inventory,
    topics.RATES: records.Rate,
    topics.SCORES: records.Score,
    topics.REVALIDATIONS: records.Revalidation,
    topics.REVALIDATED: records.Revalidated,
    topics.INCIDENTS: records.Incident,
    topics.PREDICTIONS: records.Prediction,
    topics.DECISIONS: records.Decision,
    topics.EVICTIONS: records.Eviction,
    topics.GROUPS: records.GroupVerdict,
    topics.BRAKES: records.Brakes,
    topics.COMMANDS: records.Command,
}
_DECODERS = {topic: msgspec.json.Decoder(type_) for topic, type_ in _TYPES.items()}
_VERSIONS = {
    topic: next(field.default for field in msgspec.structs.fields(type_) if field.name == "v")
    for topic, type_ in _TYPES.items()
}


class _Versioned(msgspec.Struct):
    v: int = 1


_version = msgspec.json.Decoder(_Versioned).decode


def fault(topic: str, record: Record) -> str:
    """What is wrong with `record` on `topic`, in words; empty: nothing."""
    decoder = _DECODERS.get(topic)
    if decoder is None or (not record.value and topics.TOPICS[topic].compacted):  # a tombstone
        return ""
    try:
        version = _version(record.value).v  # first: a newer version need not decode as ours
        if version != _VERSIONS[topic]:
            return f"schema version {version}, expected {_VERSIONS[topic]}"
        decoded = decoder.decode(record.value)
    except ValueError as error:
        return str(error)
    if isinstance(decoded, records.Judged | records.Revalidated):
        key = gpu_key(decoded.node, decoded.uuid, decoded.bdf)
        if key != record.key:
            return f"key {record.key!r}, expected {key!r}"
    return ""
