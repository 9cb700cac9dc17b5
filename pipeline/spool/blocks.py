"""Blocks: what one append leaves in a segment, and how blocks are found again in bytes that may be damaged.

A block is a mark, its length, a checksum of both length and content, and the content. The first one of a segment is
a `Head`: all that was known when the segment began, so that older segments may go. The others are `Block`s.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pipeline.log import Entry

MARK = b"\xf5GVB"
_HEADER = struct.Struct("<4sII")
HEADER_BYTES = _HEADER.size


class Head(msgspec.Struct, array_like=True, kw_only=True, tag="head"):
    """What a segment begins with.

    first: how many records its lane had before. epoch, boot: of the agent that wrote it. counts: the newest number
    of each node in this lane. positions: of all sources, with the write that they belong to.
    """

    v: int = 1
    first: int
    epoch: int
    boot: str
    counts: dict[str, int]
    positions: dict[str, tuple[int, str]]


class Block(msgspec.Struct, array_like=True, tag="block"):
    """The records of one append in one lane, with the position of their source: durable together or not at all.

    write: counts the appends of the spool. first: how many records the lane had before. counts: the newest number
    of each node that these records bring. urgent: they tell of faults.
    """

    write: int
    first: int
    source: str
    position: str | None
    counts: dict[str, int]
    urgent: bool
    entries: list[Entry]

    @property
    def end(self) -> int:
        return self.first + len(self.entries)


class Found(NamedTuple):
    """A sound block. at, end: where it stands. whole: nothing damaged lies between it and the block before."""

    at: int
    end: int
    content: Head | Block
    whole: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head | Block).decode


def encode(content: Head | Block) -> bytes:
    payload = _encode(content)
    return _HEADER.pack(MARK, len(payload), zlib.crc32(payload, len(payload))) + payload


def scan(data: bytes) -> Iterator[Found]:
    """The sound blocks of `data`, whatever lies before, between and behind them."""
    at, expected = data.find(MARK), 0
    while at >= 0:
        found = _sound(data, at)
        if found:
            content, end = found
            yield Found(at, end, content, at == expected)
            expected = end
            at = data.find(MARK, end)
        else:
            at = data.find(MARK, at + 1)


def _sound(data: bytes, at: int) -> tuple[Head | Block, int] | None:
    if at + HEADER_BYTES > len(data):
        return None
    _, length, checksum = _HEADER.unpack_from(data, at)
    end = at + HEADER_BYTES + length
    payload = data[at + HEADER_BYTES : end]
    if end > len(data) or zlib.crc32(payload, length) != checksum:
        return None
    try:
        return _decode(payload), end
    except msgspec.MsgspecError:  # of another version
        return None
