"""Messages of our topics as lines of JSON for people, and the choice of those about one node or one GPU."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from pipeline.kafka import checkpoints, wire
from schemas import frames, topics

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
NOT_UNDERSTOOD = (ValueError, msgspec.MsgspecError, RecursionError)


class Chosen(NamedTuple):
    """node: its name. gpu: a UUID, a PCI address, or node/address as records without a UUID are keyed; "": any."""

    node: str = ""
    gpu: str = ""

    def may_be(self, message: Any) -> bool:
        """A quick look: false only for what is about something else for certain."""
        node, _, address = self.gpu.rpartition("/")
        data = b"\n".join((message.key or b"", message.value or b""))
        return all(_quick(name) in data for name in (self.node, node, address))

    def matches(self, key: str, value: Any) -> bool:
        """value: as `value_of` gives it."""
        about: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        if self.node and self.node not in (key, about.get("node")):
            return False
        if not self.gpu or self.gpu == key:
            return True
        node, _, address = self.gpu.rpartition("/")
        if node and about.get("node") != node:
            return False
        gpus = about.get("gpus")
        named = [about, *(gpus if isinstance(gpus, list) else ())]
        names = [[gpu.get("uuid"), gpu.get("bdf")] if isinstance(gpu, Mapping) else [gpu] for gpu in named]
        return any(address in name for name in names)


def line(topic: str, message: Any, chosen: Chosen) -> bytes | None:
    """The message as a line of JSON, newline included; None if it is not among the chosen."""
    if not chosen.may_be(message):
        return None
    record = wire.record(message)
    kind, value = record.kind, value_of(topic, record.kind, message)
    if topic == topics.CHECKPOINTS:
        kind = "checkpoint"
    if not chosen.matches(record.key, value):
        return None
    origin = next((data for name, data in message.headers if name == wire.ORIGIN), None)
    shown = {
        "topic": topic,
        "partition": message.partition,
        "offset": record.offset,
        "ts": record.ts,
        "key": record.key,
        "kind": kind,
        "origin": origin.decode("utf-8", "backslashreplace") if origin else None,
        "value": value,
    }
    return _encode(shown) + b"\n"


def value_of(topic: str, kind: str, message: Any) -> Any:
    """The value as what JSON can hold: null where it removes its key, bytes and reason where it is not readable."""
    if message.value is None:
        return None
    if topic == topics.CHECKPOINTS:
        return _piece(message)
    try:
        return readable(kind, message.value)
    except NOT_UNDERSTOOD as error:
        return {"raw": base64.b64encode(message.value).decode(), "why": str(error) or type(error).__name__}


def readable(kind: str, value: bytes) -> Any:
    """What a record's value says, as what JSON can hold. Raises one of NOT_UNDERSTOOD."""
    return frames.to_json(frames.decode(value)) if kind == frames.KIND else _decode(value)


def _piece(message: Any) -> dict[str, Any]:
    """A piece of a state: how large it is, what the state covers; not what is in it."""
    of = next((data for name, data in message.headers if name == checkpoints.OF), b"")
    next_offset, _, pieces = of.decode("utf-8", "backslashreplace").partition("/")
    return {"bytes": len(message.value), "next_offset": next_offset, "pieces": pieces}


def _quick(name: str) -> bytes:
    """What stands in every record that names it; empty where JSON might spell it in another way."""
    encoded = _encode(name)[1:-1]
    return encoded if name.isascii() and encoded == name.encode() and "/" not in name else b""
