"""Brings what the ticket system has to what it should have, one ticket at a time, for as long as that takes.

Level-triggered: the log (compacted) says what tickets there should be, the memory what has been sent. An outage is
simply the time during which they differ; there is no queue that could overflow, lose or double anything.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

import msgspec

from sinks.sink import SinkError
from sinks.tickets.memory import CLOSED, OPEN, WANTED, Memory, Row
from sinks.tickets.ticket import Line, Ticket, digest
from sinks.tickets.tracker import Later, Missing, Ref, Refused, Tracker
from sinks.tickets.view import Name, View

BACKOFF_S = (1.0, 300.0)
UPDATE_S = 300.0  # between two updates that can wait: more evidence, another number
VANISHED_S = 60.0
REFUSED_S = 3600.0  # somebody may have mended what it was refused for
TRIED_MAX = 64
GONE = "its GPU is back in service, or has another case"

logger = logging.getLogger(__name__)


class Stats(NamedTuple):
    """open, closed: as we have left them there. unsent: they differ from what they should be. refused: left out.

    to_check: open ones that name outputs which nobody has checked again yet.
    oldest_unsent_s: how long the oldest of the unsent has waited; 0: none does. outage: what everything waits for.
    """

    open: int = 0
    closed: int = 0
    unsent: int = 0
    refused: int = 0
    to_check: int = 0
    oldest_unsent_s: float = 0.0
    outage: str = ""


class Desk:
    """clock: seconds since the epoch. random: for the jitter of retries. pace: awaited before each call.

    Guarantees: of each incident that was seen open one ticket, whatever crashes in between, as far as the tracker
        can find what it was given; graver changes at once, others every five minutes at most; what the tracker
        refuses is left out until the ticket changes, or for an hour, and the others go on.
    """

    def __init__(
        self,
        view: View,
        tracker: Tracker,
        memory: Memory,
        clock: Callable[[], float],
        random: Random,
        pace: Callable[[], Awaitable[None]],
    ) -> None:
        self._view = view
        self._tracker = tracker
        self._memory = memory
        self._clock = clock
        self._random = random
        self._pace = pace
        self._due: dict[Name, float] = {}  # what may differ: when to look at it
        self._since: dict[Name, float] = {}  # what does differ: since when
        self._refused: dict[Name, tuple[str, float]] = {}  # digest of what was refused, and when to try once more
        self._paused_until = 0.0
        self._failures = 0  # in a row
        self._tries: Counter[Name] = Counter()  # in vain, of each ticket
        self._outage = ""
        self._ending = False
        self.failures: Counter[str] = Counter()

    def begin(self) -> None:
        """The view has read all there is: what is remembered and not wanted may be closed from now on."""
        now = self._clock()
        self._memory.forget_closed(round(1000 * now))
        self._due |= dict.fromkeys(self._memory.rows, now)

    def end(self) -> None:
        """The last steps follow: what could wait for more is told now."""
        self._ending = True
        self._due = dict.fromkeys(self._due, self._clock())

    async def step(self) -> float | None:
        """Deal with the ticket that has been due for longest. Returns the seconds until the next is; None: none is.

        Raises what is a bug; no failure of the tracker or of the disk.
        """
        now = self._clock()
        for name in self._view.changed():
            self._due[name] = min(self._due.get(name, now), now)
        if not self._due:
            return None
        name, due = min(self._due.items(), key=lambda each: each[1])
        if due > now:
            return due - now
        ticket = self._to_send(name)
        if ticket is None:
            return 0.0
        self._since.setdefault(name, now)
        if self._paused_until > now:
            self._due[name] = self._paused_until
            return 0.0
        try:
            await self._deal(name, ticket)
        except SinkError as outage:
            self._fails(name, outage)
        else:
            self._works(name)
        return 0.0

    def stats(self) -> Stats:
        """May be asked from any thread."""
        rows = list(self._memory.rows.values())
        states = Counter(row.state for row in rows)
        oldest = min(list(self._since.values()), default=None)
        return Stats(
            open=states[OPEN],
            closed=states[CLOSED],
            unsent=len(self._since),
            refused=len(self._refused),
            to_check=sum(row.state == OPEN and not all(check.result for check in row.ticket.checks) for row in rows),
            oldest_unsent_s=max(0.0, self._clock() - oldest) if oldest is not None else 0.0,
            outage=self._outage,
        )

    # --- one ticket ----------------------------------------------------------------------------------------------

    def _to_send(self, name: Name) -> Ticket | None:
        """None: there is nothing to send, or not yet; it is set when to look again."""
        row, now = self._memory.rows.get(name), self._clock()
        ticket = self._wanted(name, row)
        if ticket is None:
            self._leave(name, None)
            return None
        refused, retry = self._refused.get(name, ("", 0.0))
        again = now < retry and digest(ticket) == refused
        until = retry if again else now + self._may_wait(row, ticket, now)
        if until > now:
            self._leave(name, until)
            return None
        return ticket

    async def _deal(self, name: Name, ticket: Ticket) -> None:
        """Bring it as far as it goes now, and set when to look again."""
        row, now = self._memory.rows.get(name), self._clock()
        refused, _ = self._refused.get(name, ("", 0.0))
        try:
            again_s = await self._send(row, ticket)
        except Refused as refusal:
            self.failures["refused"] += 1
            if digest(ticket) != refused:
                logger.error("ticket %s left out: %s: %s", ticket.id, self._tracker.where, refusal)
            self._refused[name] = digest(ticket), now + REFUSED_S
            self._since.pop(name, None)
            self._leave(name, now + REFUSED_S)
        except Missing:
            self._vanished(name, ticket)
        else:
            self._refused.pop(name, None)
            self._leave(name, self._clock() + again_s if again_s else None)

    def _vanished(self, name: Name, ticket: Ticket) -> None:
        """Somebody has deleted it. A search may show it for a while still."""
        row = self._memory.rows[name]
        state = WANTED if ticket.is_open else CLOSED
        self._memory.note(Row(state, "", ticket, 0, self._now_ms(), row.revision))
        self._leave(name, self._clock() + VANISHED_S)

    def _wanted(self, name: Name, row: Row | None) -> Ticket | None:
        """What should be there. None: nothing that was not there before."""
        ticket = self._view.ticket(name)
        if row is None:
            return ticket if ticket is not None and ticket.is_open else None
        if ticket is None:
            whole = self._view.part_of(name)
            into = whole if whole != name[1] else ""
            because = f"part of {into}" if into else row.ticket.closed_because or GONE
            return msgspec.structs.replace(row.ticket, is_open=False, closed_because=because, into=into)
        return msgspec.structs.replace(ticket, tried=_joined(row.ticket.tried, ticket.tried))

    def _may_wait(self, row: Row | None, ticket: Ticket, now: float) -> float:
        """Seconds until something has to be sent; 0: now."""
        if row is None or row.state == WANTED:
            return 0.0
        if row.state == CLOSED:
            return 0.0 if ticket.is_open else _NEVER_S
        if row.ticket.grave != ticket.grave:
            return 0.0
        age_s = now - row.sent_ms / 1000
        wait_s = _NEVER_S if row.ticket == ticket else 0.0 if self._ending else UPDATE_S - age_s
        if alive_s := self._tracker.capabilities.alive_s:
            wait_s = min(wait_s, alive_s - age_s)
        return max(wait_s, 0.0)

    async def _send(self, row: Row | None, ticket: Ticket) -> float:
        """Returns after how many seconds more is to be done; 0: nothing."""
        if row is None:
            row = Row(WANTED, "", ticket)
            self._memory.note(row)
        if row.state == WANTED:
            if wait_s := await self._open(row, ticket):
                return wait_s
            return self._tracker.capabilities.alive_s if ticket.is_open else _AT_ONCE_S  # over already: close it
        ref, revision = Ref(row.key, row.state == OPEN), row.revision + 1
        await self._pace()
        if ticket.is_open:
            ref = await self._tracker.update(ref, ticket, row.ticket, revision, row.state == CLOSED)
        else:
            await self._tracker.close(ref, ticket, row.ticket, revision)
        state = OPEN if ticket.is_open else CLOSED
        self._memory.note(Row(state, ref.key, ticket, row.tried_ms, self._now_ms(), revision))
        return self._tracker.capabilities.alive_s if ticket.is_open else 0.0

    async def _open(self, row: Row, ticket: Ticket) -> float:
        """Find it, else create it. Returns the seconds to wait before either can be told; 0: it is there."""
        opened = msgspec.structs.replace(ticket, is_open=True, closed_because="")
        revision = row.revision + 1
        if self._tracker.capabilities.finds:
            await self._pace()
            if found := await self._tracker.find(opened):
                await self._pace()
                ref = await self._tracker.update(found, opened, None, revision, True)
                self._memory.note(Row(OPEN, ref.key, opened, row.tried_ms, self._now_ms(), revision))
                return 0.0
            unsure_s = row.tried_ms / 1000 + self._tracker.capabilities.settle_s - self._clock()
            if row.tried_ms and unsure_s > 0:
                return unsure_s
        self._memory.note(row._replace(ticket=opened, tried_ms=self._now_ms()))
        await self._pace()
        ref = await self._tracker.create(opened, revision)
        self._memory.note(Row(OPEN, ref.key, opened, self._now_ms(), self._now_ms(), revision))
        return 0.0

    # --- when ----------------------------------------------------------------------------------------------------

    def _leave(self, name: Name, until: float | None) -> None:
        """Nothing is to be done about it before that; None: before it changes."""
        row = self._memory.rows.get(name)
        if not row or row.state != WANTED:
            self._since.pop(name, None)
        if until is None or until - self._clock() >= _NEVER_S:
            self._due.pop(name, None)
        else:
            self._due[name] = until

    def _fails(self, name: Name, outage: SinkError) -> None:
        """One line an outage, not one a try. All wait, as one try in vain is enough; then another one's turn comes."""
        self.failures["outage"] += 1
        if not self._outage:
            logger.warning("tickets wait: %s", outage)
        self._outage = str(outage)
        wait_s = self._backoff_s(self._failures)
        if isinstance(outage, Later):
            wait_s = max(wait_s, outage.retry_after_s)
        self._failures += 1
        self._paused_until = self._clock() + wait_s
        self._tries[name] += 1
        self._due[name] = self._clock() + max(wait_s, self._backoff_s(self._tries[name]))

    def _works(self, name: Name) -> None:
        if self._outage:
            logger.warning("tickets go on")
        self._outage, self._failures = "", 0
        self._tries.pop(name, None)

    def _backoff_s(self, failures: int) -> float:
        shortest_s, longest_s = BACKOFF_S
        wait_s: float = min(shortest_s * 2.0 ** min(failures, 16), longest_s)
        return wait_s * self._random.uniform(0.5, 1.0)

    def _now_ms(self) -> int:
        return round(1000 * self._clock())


_NEVER_S = 1e9
_AT_ONCE_S = 1e-3


def _joined(before: list[Line], now: list[Line]) -> list[Line]:
    """What was tried, whether or not the log still has it."""
    return sorted({*before, *now}, key=lambda line: (line.ts, line.gpu))[-TRIED_MAX:]
