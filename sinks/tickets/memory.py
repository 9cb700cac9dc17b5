"""Which tickets were sent, and as what: on disk, so that a restart neither doubles nor forgets one.

The log says what tickets there should be, and is kept compacted: a case that another one has replaced is not in it.
What is open at the ticket system and wanted no more can only be told by who remembers having opened it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from sinks.sink import SinkError
from sinks.tickets.ticket import Ticket, decode, encode

WANTED, OPEN, CLOSED = "wanted", "open", "closed"
KEPT_MS = 30 * 86_400_000  # of closed ones: an incident reopens within hours

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tickets (
    cluster TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, ticket BLOB NOT NULL,
    tried_ms INTEGER NOT NULL, sent_ms INTEGER NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (cluster, id)
) WITHOUT ROWID
"""


class Row(NamedTuple):
    """state: wanted (a creation may have happened), open or closed, as we left it. key: what it is called there.

    ticket: as it was sent last, or, while it is wanted, as it shall be. tried_ms: when a creation was last begun,
    0 = never. sent_ms: when it was last sent.
    """

    state: str
    key: str
    ticket: Ticket
    tried_ms: int = 0
    sent_ms: int = 0
    revision: int = 0


class CannotRemember(Exception):
    """The file cannot be used. The message says why."""


class Memory:
    """path: of the file; None = nothing outlives the process. One process at a time may have it."""

    def __init__(self, path: Path | None) -> None:
        """Raises CannotRemember."""
        self.path = path
        try:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path or ":memory:", timeout=0.0, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_SCHEMA)
            self._db.execute("COMMIT")
            rows = self._db.execute(
                "SELECT cluster, id, state, key, ticket, tried_ms, sent_ms, revision FROM tickets ORDER BY 1, 2"
            ).fetchall()
            self.rows = {
                (cluster, id): Row(state, key, decode(ticket), *numbers)
                for cluster, id, state, key, ticket, *numbers in rows
            }
        except (OSError, sqlite3.Error, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            if "locked" in why:
                why = "another process keeps its tickets there"
            raise CannotRemember(f"{self.path}: {why}") from None

    def note(self, row: Row) -> None:
        """Durable on return. Raises SinkError: it is not, and nothing has changed."""
        ticket = row.ticket
        self._write(
            "INSERT OR REPLACE INTO tickets VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (ticket.cluster, ticket.id, row.state, row.key, encode(ticket), *row[3:]),
        )
        self.rows[ticket.cluster, ticket.id] = row

    def forget_closed(self, now_ms: int) -> None:
        """Those that were closed long ago."""
        old = [key for key, row in self.rows.items() if row.state == CLOSED and now_ms - row.sent_ms > KEPT_MS]
        for key in old:
            self._write("DELETE FROM tickets WHERE cluster = ? AND id = ?", key)
            del self.rows[key]

    def close(self) -> None:
        self._db.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise SinkError(f"{self.path}: {error}") from None
