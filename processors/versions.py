"""The schema version of a record, looked at before anything else is believed."""

from __future__ import annotations

import msgspec

from schemas.log import Record

NOT_UNDERSTOOD = (ValueError, msgspec.MsgspecError, RecursionError)
VERSION = 1  # of every record that a stage reads


class _Versioned(msgspec.Struct):
    v: int = VERSION


_of_json = msgspec.json.Decoder(_Versioned).decode
_of_msgpack = msgspec.msgpack.Decoder(_Versioned).decode


def check_version(version: int) -> None:
    """Raises ValueError: what another version says may mean something else."""
    if version != VERSION:
        raise ValueError(f"schema version {version}, expected {VERSION}")


def complaint(record: Record, error: Exception) -> str:
    """Why `record` was refused: a newer version need not decode as ours, and that is what there is to say then."""
    decode = _of_msgpack if record.kind == "telemetry" else _of_json
    try:
        version = decode(record.value).v
    except (msgspec.MsgspecError, RecursionError):
        return str(error)
    try:
        check_version(version)
    except ValueError as other:
        return str(other)
    return str(error)
