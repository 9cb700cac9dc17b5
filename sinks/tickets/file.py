"""Tickets as files: of each one JSON, for programs, and Markdown, for people. A reader never sees half of one."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import msgspec

from sinks.tickets.text import markdown
from sinks.tickets.ticket import Ticket, decode
from sinks.tickets.tracker import Later, Ref, Tracker

NAME_MAX = 80  # of what people read of an id; the file's name has the correlation behind it


class FileTracker(Tracker):
    """directory: made where it is missing. A closed ticket stays there and says that it is closed."""

    name = "file"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def where(self) -> str:
        return str(self._directory)

    async def find(self, ticket: Ticket) -> Ref | None:
        return await asyncio.to_thread(self._find, file_name(ticket))

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        await asyncio.to_thread(self._write, file_name(ticket), ticket)
        return Ref(file_name(ticket))

    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        return await self.create(ticket, revision)

    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        await self.create(ticket, revision)

    def _find(self, name: str) -> Ref | None:
        try:
            return Ref(name, decode((self._directory / f"{name}.json").read_bytes()).is_open)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:  # somebody else's words: they are replaced
            return Ref(name)
        except OSError as error:
            raise Later(f"{self._directory}: {error.strerror}") from None

    def _write(self, name: str, ticket: Ticket) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            text = msgspec.json.format(msgspec.json.encode(ticket), indent=2) + b"\n"
            _replace(self._directory / f"{name}.md", markdown(ticket).encode())
            _replace(self._directory / f"{name}.json", text)
            _sync(self._directory)
        except OSError as error:
            raise Later(f"{self._directory}: {error.strerror}") from None


def file_name(ticket: Ticket) -> str:
    """Readable, the same for good, and of this ticket alone."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", ticket.id).strip("-.")[:NAME_MAX]
    return f"{words}-{ticket.correlation[-8:]}"


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
