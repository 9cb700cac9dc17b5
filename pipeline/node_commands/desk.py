"""Where the commands of a node arrive, and leave as results: fenced, remembered, done one by one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.node_commands.journal import ACCEPTED, FINISHED, STARTED, Entry, Journal
from pipeline.spool.thread import Thread
from producers.commands.hands import Hands
from producers.commands.outcome import FAILED, REFUSED, Outcome
from producers.source import Observed
from schemas import fencing, records
from schemas.commands import CANCEL, Keys
from schemas.fencing import Heard, Here, Refusal
from schemas.records import Command, CommandResult

WAITING_MAX = 64  # accepted and not finished
CUT_SHORT = "the agent ended in the middle: whether it was done is not known, and it is not done again"
DRY_RUN, INDETERMINATE, CANCELLED, DONE = "dry-run", "indeterminate", "cancelled", "done"

logger = logging.getLogger(__name__)


class Report(Protocol):
    """Puts what is said on its way. Returns whether it is durable there."""

    async def __call__(self, said: Sequence[Observed]) -> bool: ...


class Desk:
    """keys: reads those that are believed, now. enabled: do it; else say what would be done. at_once: GPUs.

    Guarantees: nothing is done that is not on disk as started; what was started is never started again. Each
    authentic command gets one final result, reported at least once. counts: of results, by state and reason.
    """

    def __init__(
        self,
        here: Callable[[], Here],
        keys: Callable[[], Keys],
        journal: Journal,
        hands: Hands,
        report: Report,
        *,
        enabled: bool,
        at_once: int = 1,
        now: Callable[[], int] = wall_ms,
    ) -> None:
        self.enabled = enabled
        self.counts: Counter[tuple[str, str]] = Counter()
        self.journal = journal
        self._here = here
        self._keys = keys
        self._hands = hands
        self._report = report
        self._now = now
        self._disk = Thread("commands")
        self._places = asyncio.Semaphore(at_once)
        self._gpus: dict[str, asyncio.Lock] = {}
        self._beginning: set[str] = set()  # they may not be cancelled any more
        self._tasks: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """What an agent before this one has left. Once, before anything is heard."""
        for entry in list(self.journal.entries.values()):
            if entry.state == STARTED:
                await self._finish(entry, self._result(entry.command, INDETERMINATE, CUT_SHORT))
            elif entry.state == ACCEPTED:
                self._begin(entry)
            elif not entry.reported and entry.result:
                await self._tell(entry, entry.result)

    async def hear(self, command: Command, offset: int) -> None:
        """A command has come; it returns once that is on disk, or answered."""
        now_ms = self._time_ms()
        here = self._here()
        refusal = self._unbelievable(command, now_ms) or fencing.elsewhere(command, here)
        known = self.journal.entries.get(command.id)
        if refusal is None and known is not None:
            if known.offset == offset:
                return  # we have died between remembering it and remembering that it was read
            refusal = Refusal("repeated", "a command with this id was answered before")
        if refusal:
            await self.refuse(command, refusal)
            return
        heard = Heard(self.journal.heard, self.journal.entries)
        refusal = fencing.untimely(command, now_ms) or fencing.repeated(command, heard, now_ms)
        if refusal is None and command.action != CANCEL:
            here = here._replace(gpus=await self._hands.gpus())
        refusal = refusal or fencing.impossible(command, here) or self._full()
        entry = Entry(command=command, offset=offset, state=ACCEPTED)
        if refusal:
            await self._finish(entry, self._result(command, REFUSED, refusal.text, refusal.reason))
        elif not self.enabled:
            await self._finish(entry, self._dry(command))
        elif command.action == CANCEL:
            await self._cancel(entry)
        elif await self._put(entry):
            self._begin(entry)

    async def refuse(self, command: Command, refusal: Refusal) -> None:
        """It cannot be believed, so nothing of it is remembered."""
        await self._say(self._result(command, REFUSED, refusal.text, refusal.reason))

    async def close(self) -> None:
        """What runs is cut short, which the next agent will say of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disk.call(self.journal.close)
        self._disk.end()

    def problems(self) -> dict[str, str]:
        return {"commands": self.journal.trouble} if self.journal.trouble else {}

    def _time_ms(self) -> int:
        """Our clock's, unless a command has shown that it is later."""
        return max(self._now(), self.journal.newest_ms)

    def _unbelievable(self, command: Command, now_ms: int) -> Refusal | None:
        try:
            keys = self._keys()
        except UsageProblem as problem:
            return Refusal("key", problem.text)
        return fencing.unauthentic(command, keys, now_ms)

    def _full(self) -> Refusal | None:
        if self.journal.trouble:
            return Refusal("journal", f"nothing can be remembered, so nothing is done: {self.journal.trouble}")
        if len(self._tasks) >= WAITING_MAX:
            return Refusal("busy", f"{len(self._tasks)} commands wait already")
        return None

    def _begin(self, entry: Entry) -> None:
        task = asyncio.create_task(self._do(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, entry: Entry) -> None:
        command = entry.command
        lock = self._gpus.setdefault(command.uuid, asyncio.Lock())
        async with lock, self._places:
            if self.journal.entries[command.id].state != ACCEPTED:  # cancelled meanwhile
                return
            self._beginning.add(command.id)
            here = self._here()._replace(gpus=await self._hands.gpus())
            now_ms = self._time_ms()
            refusal = self._unbelievable(command, now_ms) or fencing.untimely(command, now_ms)
            refusal = refusal or fencing.impossible(command, here)
            if refusal:
                await self._finish(entry, self._result(command, REFUSED, refusal.text, refusal.reason))
            elif not self.enabled:
                await self._finish(entry, self._dry(command))
            else:
                await self._act(entry, here.gpus[command.uuid])
        self._beginning.discard(command.id)

    async def _act(self, entry: Entry, bdf: str) -> None:
        command, started = entry.command, self._now()
        entry = msgspec.structs.replace(entry, state=STARTED)
        if not await self._put(entry):
            return
        runs = f"runs: {self._hands.would(command)}"
        try:
            outcome = await self._hands.do(
                command, bdf, lambda: self._say(self._result(command, STARTED, runs, started=started))
            )
        except Exception as error:
            logger.exception("command %s crashed", command.id)
            outcome = Outcome(FAILED, f"crashed: {type(error).__name__}: {error}")
        ran_at = 0 if outcome.state == REFUSED else started
        result = self._result(command, outcome.state, outcome.detail, outcome.reason, started=ran_at)
        result.exit_status, result.output, result.bdf = outcome.status, outcome.output, bdf
        said = [Observed(result.node, "diagnostic", records.encode(outcome.said))] if outcome.said else []
        await self._finish(entry, result, said)

    async def _cancel(self, entry: Entry) -> None:
        whom = str(entry.command.parameters["command"])
        other = self.journal.entries.get(whom)
        if other is None or other.state == FINISHED:
            result = self._result(entry.command, REFUSED, f"no command {whom!r} waits here", "unknown")
        elif other.state == STARTED or whom in self._beginning:
            result = self._result(entry.command, REFUSED, f"{whom} has started already", "late")
        else:
            self._beginning.add(whom)
            await self._finish(other, self._result(other.command, CANCELLED, f"by {entry.command.id}"))
            result = self._result(entry.command, DONE, f"{whom} will not be done")
        await self._finish(entry, result)

    def _dry(self, command: Command) -> CommandResult:
        would = command.action if command.action == CANCEL else self._hands.would(command)
        return self._result(command, DRY_RUN, f"commands are not enabled here; it would have run: {would}")

    async def _finish(self, entry: Entry, result: CommandResult, said: Sequence[Observed] = ()) -> None:
        """On disk, and then told: lost in between, it is told after the next start."""
        entry = msgspec.structs.replace(entry, state=FINISHED, result=result)
        await self._put(entry)  # where that fails, it is told all the same
        await self._tell(entry, result, said)

    async def _tell(self, entry: Entry, result: CommandResult, said: Sequence[Observed] = ()) -> None:
        if await self._say(result, said):
            await self._put(msgspec.structs.replace(entry, reported=True))

    async def _say(self, result: CommandResult, said: Sequence[Observed] = ()) -> bool:
        self.counts[result.state, result.reason] += 1
        level = logging.WARNING if result.state in (REFUSED, FAILED, INDETERMINATE) else logging.INFO
        what = f"{result.action} {result.uuid}".strip() or "unreadable"
        logger.log(level, "command %s (%s) %s: %s", result.id or "without an id", what, result.state, result.detail)
        return await self._report([*said, Observed(result.node, "command-result", records.encode(result))])

    async def _put(self, entry: Entry) -> bool:
        """Whether it is remembered. Where it is not, nothing follows."""
        if self.journal.trouble:
            return False
        try:
            await self._disk.call(lambda: self.journal.put(entry))
        except OSError as error:
            logger.error("commands cannot be remembered, and are refused from now on: %s", error)
            return False
        return True

    def _result(
        self, command: Command, state: str, detail: str, reason: str = "", *, started: int = 0
    ) -> CommandResult:
        here = self._here()
        return CommandResult(
            ts=self._now(),
            cluster=here.cluster,
            node=here.node,
            id=command.id,
            action=command.action,
            state=state,
            detail=detail,
            reason=reason,
            uuid=command.uuid,
            bdf=command.bdf,
            sequence=command.sequence,
            case=command.case,
            author=command.author,
            started=started,
        )
