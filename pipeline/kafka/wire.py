"""Our records as Kafka messages, and back.

The key is the record's key, the value its value (none: the key is removed), the timestamp its append time. Two
headers: `kind`, and for derived records `origin`: generation/stage/partition/offset/ordinal of what caused it.
"""

from __future__ import annotations

from typing import Any

from schemas.log import Origin, Record

KIND = "kind"
ORIGIN = "origin"
TOMBSTONE = "tombstone"

Headers = list[tuple[str, bytes]]

_TELEMETRY = ((KIND, b"telemetry"),)
_KINDS = {
    kind.encode(): kind
    for kind in (
        "kernel",
        "health",
        "violation",
        "links",
        "command-result",
        "tick",
        "inventory",
        "source",
        "policy",
    )
}


def headers(kind: str, origin: Origin | None = None) -> Headers:
    found = [(KIND, kind.encode())]
    if origin:
        stage, partition, offset, ordinal, generation = origin
        found.append((ORIGIN, f"{generation}/{stage}/{partition}/{offset}/{ordinal}".encode()))
    return found


def record(message: Any) -> Record:
    """The record in an aiokafka message. One without our headers has the kind "", and no origin."""
    if message.headers == _TELEMETRY and message.key and message.value:  # nearly all
        return Record(message.offset, message.timestamp, _text(message.key), "telemetry", message.value)
    kind, origin = "", None
    for name, value in message.headers:
        if name == KIND:
            kind = _KINDS.get(value) or _text(value)
        elif name == ORIGIN:
            origin = parse_origin(value)
    key = message.key
    return Record(message.offset, message.timestamp, _text(key) if key else "", kind, message.value or b"", origin)


def parse_origin(header: bytes) -> Origin | None:
    """None where it is none of ours."""
    try:
        generation, stage, partition, offset, ordinal = header.decode().split("/")
        return Origin(stage, int(partition), int(offset), int(ordinal), int(generation))
    except ValueError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
