"""What is still to be sent, by the newest record of each GPU."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from schemas.commands import CANCEL
from schemas.records import Command, Eviction
from sinks.commander.asked import asked, why_not

REPLACED = "replaced"


class _Case(NamedTuple):
    """What the newest record of a GPU asks for. waiting: by id, not settled. settled: ids of what was sent or is not
    going to be. order: the id and sequence of the order in that record, or in the one before where it is cancelled.
    """

    waiting: dict[str, Command]
    settled: set[str]
    order: tuple[str, int]


_NONE = _Case({}, set(), ("", 0))


class Orders:
    """skipped: what was not sent, by reason: `REPLACED` by a newer record of its GPU, or as `asked.why_not` says.

    sending: the id of the one that is under way, of which nobody can say that it was not sent.
    """

    def __init__(self) -> None:
        self._cases: dict[str, _Case] = {}  # by GPU: of those alone that ask for anything
        self.skipped: Counter[str] = Counter()
        self.sending = ""

    def take(self, gpu: str, eviction: Eviction | None, *, news: bool) -> None:
        """The newest record of a GPU; None: there is none any more. news: it was not there when we began."""
        before = self._cases.pop(gpu, _NONE)
        id_, sequence = before.order
        wanted = asked(eviction, sequence if eviction.cancel == id_ else 0) if eviction else []
        ids = {command.id for command in wanted}
        if news:
            self.skipped[REPLACED] += len(before.waiting.keys() - ids - {self.sending})
        if eviction and ids:
            settled = before.settled & ids
            waiting = {each.id: before.waiting.get(each.id, each) for each in wanted if each.id not in settled}
            if eviction.order:
                id_, sequence = eviction.order.id, eviction.order.sequence
            self._cases[gpu] = _Case(waiting, settled, (id_, sequence))

    def next(self, now_ms: int) -> Command | None:
        """What is to be sent now: the commands of a node by their sequence, of several nodes a cancellation first.

        What no agent would do any more is settled on the way. now_ms: of the wall.
        """
        heads: dict[str, Command] = {}
        for case in self._cases.values():
            for command in list(case.waiting.values()):
                if why := why_not(command, now_ms):
                    self.skipped[why] += 1
                    _settle(case, command)
                elif (head := heads.get(command.node)) is None or command.sequence < head.sequence:
                    heads[command.node] = command
        return min(heads.values(), key=lambda each: (each.action != CANCEL, each.sequence, each.id), default=None)

    def settle(self, sent: Command) -> None:
        """It need not be sent again, unless we start anew."""
        for case in self._cases.values():
            if sent.id in case.waiting:
                _settle(case, sent)

    def waiting(self) -> int:
        """How many are still to be sent. May be asked from any thread."""
        return sum(len(case.waiting) for case in list(self._cases.values()))


def _settle(case: _Case, command: Command) -> None:
    del case.waiting[command.id]
    case.settled.add(command.id)
