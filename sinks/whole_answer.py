"""How long an answer may take as a whole: a time limit of a socket begins anew with each byte that trickles in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TypeVar

TIMES = 3.0  # the time limit of the socket: connection, head and body
PIECE_BYTES = 1 << 16

T = TypeVar("T")


def read(answer: HTTPResponse, began_s: float, timeout_s: float, bytes_max: int) -> bytes:
    """The body. began_s: when the request began, by `time.monotonic`.

    Raises TimeoutError; HTTPException: it is longer, or shorter than it says.
    """
    found = bytearray()
    while piece := answer.read1(PIECE_BYTES):
        found += piece
        if len(found) > bytes_max:
            raise HTTPException(f"the answer is longer than {bytes_max} bytes")
        if time.monotonic() - began_s > TIMES * timeout_s:
            raise TimeoutError(_late(timeout_s))
    if answer.length:
        raise IncompleteRead(bytes(found), answer.length)
    return bytes(found)


async def within(asked: Awaitable[T], timeout_s: float) -> T:
    """The answer, where its head trickles in as well. Raises TimeoutError: it has not come, and is not waited for."""
    try:
        async with asyncio.timeout(TIMES * timeout_s):
            return await asked
    except TimeoutError:
        raise TimeoutError(_late(timeout_s)) from None


def _late(timeout_s: float) -> str:
    return f"no whole answer within {TIMES * timeout_s:g} s"
