"""Recordings: JSON Lines, one input record a line with its append time. Pure: lines in, records out.

    {"ts": 1767225600000, "node": "n1", "kind": "telemetry", "value": {"node": "n1", "seq": 1, ...}}

`stage` ("node" when absent, or "cluster") names whose input it is; `offset` and `digest` lines are written by
`run --record` for `replay --verify`. A value that is not JSON stands as base64 under `raw`. A line that
cannot be understood is handed on as it stands: it ends as a dead letter, and nothing beside it is lost.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NamedTuple

import msgspec

from schemas import frames
from schemas.log import Record

UNREADABLE = "unreadable"
TS_MAX = 253_402_300_800_000  # the year 10000: what is later would carry the stream clock away with it


class Digest(msgspec.Struct, frozen=True):
    """SHA-256 over the outputs of `stage` that its input from `from_offset` to below `next_offset` caused."""

    stage: str
    from_offset: int
    next_offset: int
    outputs: int
    sha256: str


class Line(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line. node: the record's key."""

    ts: int = 0
    stage: str = "node"
    offset: int | None = None
    node: str = ""
    kind: str = ""
    value: Any = None
    raw: str | None = None
    digest: Digest | None = None


_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


def parse(line: bytes | str) -> Line:
    """Raises ValueError with the reason (and the JSON path) when the line is not one."""
    parsed = _decode(line)
    if parsed.digest is None and (not parsed.kind or (parsed.value is None) == (parsed.raw is None)):
        raise ValueError("a line needs `kind` and either `value` or `raw`, or a `digest`")
    return parsed


class Input(NamedTuple):
    """One input record of `stage`. ts: append time. offset: None where lines are not numbered."""

    stage: str
    offset: int | None
    ts: int
    key: str
    kind: str
    value: bytes


def read(line: bytes, ts: int) -> Input | Digest | None:
    """What a line holds; None: nothing but white space.

    A line that cannot be understood is input of the node stage, kind UNREADABLE, append time `ts`.
    """
    if not line.strip():
        return None
    node = ""
    try:
        parsed = parse(line)
        if parsed.digest is not None:
            return parsed.digest
        node = parsed.node
        if not 0 < parsed.ts < TS_MAX:
            raise ValueError("a line needs its append time `ts`, in ms since the epoch")
        return Input(parsed.stage, parsed.offset, parsed.ts, node, parsed.kind, value_of(parsed))
    except (ValueError, RecursionError):
        return Input("node", None, ts, node, UNREADABLE, line)


def complaint(line: bytes) -> str:
    """Why a line that `read` calls unreadable is that."""
    try:
        parsed = parse(line)
        value_of(parsed)
    except (ValueError, RecursionError) as error:
        return f"a line of a recording: {error}"
    return "a line of a recording: it needs its append time `ts`, in ms since the epoch"


def value_of(line: Line) -> bytes:
    """The record's bytes as they travel on the log. Raises ValueError when a telemetry frame is not sound."""
    if line.raw is not None:
        return base64.b64decode(line.raw, validate=True)
    if line.kind == frames.KIND:
        return frames.encode(frames.from_json(line.value))
    return _encode(line.value)


def render(stage: str, record: Record) -> bytes:
    """The line for one input record, newline included; parsing it gives equal bytes back."""
    line = Line(ts=record.ts, stage=stage, offset=record.offset, node=record.key, kind=record.kind)
    try:
        if record.kind == frames.KIND:
            line.value = frames.to_json(frames.decode(record.value))
        else:
            line.value = msgspec.json.decode(record.value)
    except ValueError:
        line.value = None
    if line.value is None or value_of(line) != record.value:
        line.value, line.raw = None, base64.b64encode(record.value).decode()
    return _encode(line) + b"\n"


def render_digest(digest: Digest) -> bytes:
    return _encode({"digest": digest}) + b"\n"


class RunningDigest:
    """Takes the outputs of `stage` in the order of their origins, from what input `from_offset` caused on.

    What the digest says is independent of the log: topic, key, kind, value and append time, but no offset.
    """

    def __init__(self, stage: str, from_offset: int) -> None:
        self._stage = stage
        self._from_offset = from_offset
        self._hash = hashlib.sha256()
        self.outputs = 0

    def add(self, topic: str, key: str, kind: str, value: bytes, ts: int) -> None:
        self._hash.update(_pack((topic, key, kind, value, ts)))
        self.outputs += 1

    def digest(self, next_offset: int) -> Digest:
        return Digest(self._stage, self._from_offset, next_offset, self.outputs, self._hash.hexdigest())
