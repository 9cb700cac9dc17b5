"""The contract of what keeps tickets: a ticket system, an alert manager, a directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from sinks.sink import SinkError
from sinks.tickets.ticket import Ticket


class Later(SinkError):
    """It would not take it now. retry_after_s: what it asks us to wait, 0 = it does not say."""

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Refused(Exception):
    """It will never take this; something else may well be taken."""


class Missing(Exception):
    """The ticket is not there any more."""


class Ref(NamedTuple):
    """key: what it is called there. is_open: as it stands there."""

    key: str
    is_open: bool = True


class Capabilities(NamedTuple):
    """finds: `find` sees what was created. Without it a creation that may have happened is sent once more, under the
    same id, and the receiver drops the double.

    settle_s: so long after a creation `find` may not see it yet. alive_s: an open ticket is told again that often,
    else it ends by itself; 0 = it stays.
    """

    finds: bool = True
    settle_s: float = 0.0
    alive_s: float = 0.0


class Tracker(ABC):
    """Each call is one ticket. All of them may be repeated after a crash: nothing is then doubled.

    Raises Later (all of it waits), Refused (this ticket is left out), Missing (of `update` and `close`).
    revision: rises with every change of a ticket that was noted as sent; a repeated call has the same one.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()

    @property
    @abstractmethod
    def where(self) -> str:
        """The place, as people call it: no secret in it."""

    @abstractmethod
    async def find(self, ticket: Ticket) -> Ref | None:
        """The oldest ticket with this one's correlation."""

    @abstractmethod
    async def create(self, ticket: Ticket, revision: int) -> Ref:
        """A new ticket, which is open."""

    @abstractmethod
    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        """The ticket says what `ticket` says now. before: what it was told last, if that is known.

        reopen: the incident came back, open it where it is closed. Else its state stays as people have set it.
        """

    @abstractmethod
    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        """The ticket is done; that it is already is no error."""
