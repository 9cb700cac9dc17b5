"""Where sources put what they saw: on the log, the policy in force before all else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.log import Entry, SourceIngress, Unavailable
from producers.source import Observed
from schemas import records, topics

BACKOFF_S = (0.5, 15.0)
CLOCKS = {True: "a simulated or recorded fleet", False: "live sources"}

logger = logging.getLogger(__name__)


class Intake:
    """policy: appended when another one (or none) was in force; None: others see to that. own_clock: sources say
    what time it is.

    sources: the newest status of each source that has told one. outage: why nothing can be appended now.
    """

    def __init__(self, log: SourceIngress, policy: records.PolicyChange | None, own_clock: bool) -> None:
        self._log = log
        self._policy = policy
        self._own_clock = own_clock
        self.sources: dict[str, records.SourceStatus] = {}
        self.outage = ""

    async def start(self) -> None:
        """Raises UsageProblem when the log's times are of the other kind: its clock would jump by years."""
        clock = CLOCKS[self._own_clock]
        found = await self._log.position("clock")
        if found not in (None, clock):
            raise UsageProblem(
                f"the data directory holds the history of {found}, not of {clock}", "name another --data-dir"
            )
        await self._log.append(topics.OBSERVATIONS, [], "clock", clock)
        if self._policy and await self._log.position("policy") == self._policy.id:
            self._policy = None
        if not self._own_clock:
            await self._put_policy(None)

    async def append(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        """Waits while the log is unavailable: sources are not read on, and nothing is lost here."""
        wait_s, longest_s = BACKOFF_S
        while True:
            try:
                await self._put_policy(next((entry.ts for entry in entries if entry.ts is not None), None))
                given = [Entry(entry.node, entry.kind, entry.value, entry.ts) for entry in entries]
                await self._log.append(topics.OBSERVATIONS, given, source, position)
            except Unavailable as outage:
                if not self.outage:
                    logger.warning("sources wait: %s", outage)
                self.outage = str(outage)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, longest_s)
            else:
                break
        if self.outage:
            logger.warning("sources go on")
            self.outage = ""
        self._note(entries)

    async def _put_policy(self, ts: int | None) -> None:
        """At `ts`; where sources own the clock, not before one has said what time it is."""
        if self._policy is None or (self._own_clock and ts is None):
            return
        change = msgspec.structs.replace(self._policy, ts=wall_ms() if ts is None else ts)
        entry = Entry("", "policy", records.encode(change), ts)
        await self._log.append(topics.OBSERVATIONS, [entry], "policy", change.id)
        self._policy = None

    def _note(self, entries: Sequence[Observed]) -> None:
        for entry in entries:
            if entry.kind == "source":
                status = _status(entry.value)
                before = self._trouble(status.source)
                self.sources[status.source] = status
                trouble = self._trouble(status.source)
                if trouble and trouble != before:
                    logger.warning("source %s: %s", status.source, trouble)
                elif before and status.state == "ok":
                    logger.warning("source %s goes on", status.source)

    def _trouble(self, source: str) -> str:
        status = self.sources.get(source)
        return status.detail if status and status.state == "failing" else ""


_status = msgspec.json.Decoder(records.SourceStatus).decode
