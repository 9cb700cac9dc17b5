"""Source `nvml`: GPUs by the driver's own library, for nodes without DCGM."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from producers.blocking import Blocking
from producers.host import hostname, now_ms
from producers.nvml import library
from producers.nvml.events import Happened
from producers.nvml.session import Session
from producers.nvml.telling import Teller
from producers.sampling import PUBLISH_S, Sampler
from producers.source import Observed, Source, SourceError
from producers.watched import WATCHED
from schemas import records
from schemas.sources import HUNG

WAIT_S = 5.0  # in which a read says something, or that there is nothing
HUNG_S = 5.0  # after which a sample that has not come will not come soon
XIDS_WAIT_MS = 1000
XIDS_PAUSE_S = 1.0  # after an error, and after a wait that was none
STOP_S = 2.0  # more than a wait for Xids takes
BUSY = "nvml: an earlier call has not come back yet"
HANGS = "nvml: the driver has not answered for {:g} s; see the kernel log (Xid 119 or 120); reset the GPU, or reboot"


class Nvml(Source):
    """A sample of all GPUs each `interval_s`; Xids at once; inventory, links and trouble when they change.

    A GPU that is lost stays in the frames, blank, and it is told which. Xids of the time before the source was
    opened, and while it cannot be read, are in the kernel's log only.
    """

    name = "nvml"
    deadline_s = 30.0  # without persistence mode, opening it starts every GPU

    def __init__(
        self,
        *,
        node: str | None = None,
        cluster: str = "default",
        interval_s: float = 1.0,
        publish_s: float = PUBLISH_S,
        load: Callable[[], Any] = library.load,
        now: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        node = node or hostname()
        self._interval_s = interval_s
        self._load = load
        self._now = now
        self._clock = clock
        self._teller = Teller(self.name, node, cluster)
        self._sampler = Sampler(node, cluster, publish_s)
        self._calls = Blocking()
        self._waits = Blocking()  # for Xids
        self._held: Session | None = None  # open in the library; threads set it
        self._session: Session | None = None  # the same, while it may be used
        self._sampling: asyncio.Task[Any] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._asked_at = self._due_at = self._wait_at = self._waits_since = 0.0  # loop time
        # What outlasts a session.
        self._known: list[records.GpuInfo] = []
        self._xids: deque[Happened] = deque()

    async def open(self, after: str | None) -> None:
        """Samples are of now: there is nothing to resume."""
        await self._stop()
        await self._renew()
        self._teller.reopened()

    async def read(self) -> list[Observed]:
        clock = asyncio.get_running_loop().time
        until = clock() + WAIT_S
        observed: list[Observed] = []
        while not observed and clock() < until:
            session = self._session
            if session is None:
                raise SourceError("nvml: not open")
            if session.outdated and self._sampling is None:
                await self._stop()
                await self._renew()
                continue
            self._ask(session, clock())
            await self._wait(min(until, self._asked_at + HUNG_S if self._sampling else self._due_at) - clock())
            observed = self._answers(session, clock())
        return observed

    async def close(self) -> None:
        """Lets go of the driver, unless a call is still in it: then the next `open` does."""
        await self._stop()
        if self._held and not self._calls.busy and not self._waits.busy:
            await self._calls.call(self._release)

    def _ask(self, session: Session, now: float) -> None:
        """Start what is due."""
        if self._sampling is None and now >= self._due_at:
            self._asked_at = now
            self._due_at = max(self._due_at + self._interval_s, now)
            self._sampling = asyncio.create_task(self._calls.call(session.sample))
        if self._waiting is None and now >= self._wait_at and session.events.any:
            self._waits_since = now
            self._waiting = asyncio.create_task(self._waits.call(lambda: session.events.wait(XIDS_WAIT_MS)))

    async def _wait(self, seconds: float) -> None:
        """Until something has been answered, or the time has passed."""
        running = [task for task in (self._sampling, self._waiting) if task]
        if running:
            await asyncio.wait(running, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(max(0.0, seconds))

    def _answers(self, session: Session, now: float) -> list[Observed]:
        """What there is to say. Raises what went wrong only after all that was there before has been said."""
        if self._waiting and self._waiting.done():
            waited, self._waiting = self._waiting, None
            waited.result()
            at_once = not self._xids and now - self._waits_since < XIDS_WAIT_MS / 2000  # as with an empty set
            self._wait_at = now + XIDS_PAUSE_S if at_once or session.events.trouble else now
        if self._xids:
            return [self._teller.fault(self._xids.popleft()) for _ in range(len(self._xids))]
        if self._sampling is None:
            return []
        hung = not self._sampling.done() and now - self._asked_at >= HUNG_S
        if (hung or (self._sampling.done() and self._sampling.exception())) and (held := self._sampler.flush()):
            return held
        if hung:
            raise SourceError(HANGS.format(HUNG_S), cause=HUNG)
        if not self._sampling.done():
            return []
        sampled, self._sampling = self._sampling, None
        ts, values = sampled.result()
        changes = list(self._teller.changes(session, ts))
        return changes + self._sampler.add(ts, [device.gpu for device in session.devices], values)

    async def _stop(self) -> None:
        """End what runs, as far as it ends; the session is not used any more."""
        self._session = None
        running = [task for task in (self._sampling, self._waiting) if task]
        self._sampling = self._waiting = None
        if running:
            _, hanging = await asyncio.wait(running, timeout=STOP_S)
            for task in running:
                if task in hanging:
                    task.cancel()
                elif not task.cancelled():
                    task.exception()  # nobody asks for it any more

    async def _renew(self) -> None:
        """A new session; the driver is let go of in between, which is what makes it look anew."""
        if self._waits.busy:
            raise SourceError(BUSY, cause=HUNG)
        await self._calls.call(self._reopen)
        self._session = self._held
        self._due_at = self._wait_at = asyncio.get_running_loop().time()

    def _reopen(self) -> None:
        self._release()
        self._held = Session(self._load(), WATCHED, self._known, self._xids, self._now, self._clock)
        self._known = [device.info for device in self._held.devices]

    def _release(self) -> None:
        held, self._held = self._held, None
        if held:
            held.close()
