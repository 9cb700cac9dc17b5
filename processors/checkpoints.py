"""Checkpoints as bytes: equal states give equal bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import zstandard

from schemas.log import Checkpoint

LEVEL = 1


class _Saved(msgspec.Struct):
    version: int
    state: msgspec.Raw


def pack(version: int, next_offset: int, state: Any) -> Checkpoint:
    """`state`: builtin types only; dicts in a fixed order."""
    data = msgspec.msgpack.encode({"version": version, "state": state})
    return Checkpoint(next_offset, zstandard.ZstdCompressor(level=LEVEL).compress(data))


def unpack(version: int, checkpoint: Checkpoint, type_: Any = Any) -> Any:
    """The state, as `type_`. Raises ValueError when the bytes are no checkpoint, or one that this code cannot read."""
    try:
        saved = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(checkpoint.data), type=_Saved)
        if saved.version == version:
            return msgspec.msgpack.decode(saved.state, type=type_)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise ValueError(f"checkpoint at offset {checkpoint.next_offset} is damaged: {error}") from error
    raise ValueError(f"checkpoint of version {saved.version}, this code reads version {version}")
