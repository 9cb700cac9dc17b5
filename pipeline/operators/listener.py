"""The socket of an embedded pipeline: one line of JSON asks or says something, one line answers.

{"ask": "now"} -> {"now": MS, "cluster": NAME}; {"say": WORD} -> {"recorded": WORD} or {"refused": WHY}. The peer's
user is part of a word's author: the kernel says who it is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import UsageProblem
from pipeline.log import Unavailable
from pipeline.operators.place import FOLDER, MESSAGE_BYTES_MAX, author, short
from processors.heard import unbelievable
from schemas.operator_keys import Operators
from schemas.records import Operator

PATIENCE_S = 10.0
BACKLOG = 16
UCRED = struct.Struct("3i")  # pid, uid, gid of the peer


class Say(msgspec.Struct):
    """What a peer sends: one of the two."""

    ask: str = ""
    say: Operator | None = None


class Listener:
    """now: the time by the pipeline's clock, ms; 0 = it has not begun. put: records a word, said at that time."""

    def __init__(
        self,
        directory: Path,
        cluster: str,
        keys: Operators,
        now: Callable[[], int],
        put: Callable[[Operator], Awaitable[None]],
    ) -> None:
        self._directory, self._cluster, self._keys = directory, cluster, keys
        self._now, self._put = now, put
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises UsageProblem: nothing can be made there."""
        folder = self._directory / FOLDER
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
            with short(self._directory) as name:
                Path(name).unlink(missing_ok=True)  # of a pipeline that was killed: this one holds the directory's lock
                listening.bind(name)
                os.chmod(name, 0o600)
            listening.listen(BACKLOG)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MESSAGE_BYTES_MAX)
        except OSError as error:
            listening.close()
            raise UsageProblem(f"{folder}: cannot listen there: {(error.strerror or str(error)).lower()}") from None

    async def close(self) -> None:
        """Nobody is heard any more; harmless twice."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        try:
            with short(self._directory) as name:
                Path(name).unlink(missing_ok=True)
        except FileNotFoundError:
            return  # the whole directory has gone before

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = await reader.readline()
                uid = _uid(writer.get_extra_info("socket"))
                writer.write(msgspec.json.encode(await self._answer(line, uid)) + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            return  # a peer that keeps silent, goes away, or sends more than any word is long
        finally:
            writer.close()

    async def _answer(self, line: bytes, uid: int) -> dict[str, Any]:
        try:
            asked = _decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            return {"refused": f"not understood: {error}"}
        now_ms = self._now()
        if not now_ms:
            return {"refused": "the pipeline has not begun to judge; try again"}
        if asked.say is None:
            return {"now": now_ms, "cluster": self._cluster} if asked.ask == "now" else {"refused": "nothing is asked"}
        word = asked.say
        if not word.author.endswith(author("", uid)):
            return {"refused": f"its author {word.author!r} does not end in '(uid {uid})', as who says it"}
        why = unbelievable(word, self._keys, now_ms)
        if why:
            return {"refused": why}
        try:
            await self._put(word)
        except Unavailable as outage:
            return {"refused": f"it could not be recorded: {outage}"}
        return {"recorded": word}


def _uid(peer: socket.socket) -> int:
    uid: int = UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))[1]
    return uid


_decode = msgspec.json.Decoder(Say).decode
