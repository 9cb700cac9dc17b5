"""Signs of life to systemd (`Type=notify`, `WatchdogSec=`): given as long as the agent gets on with its work."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

STALLED_S = 60.0
SIGNS = 3  # in each period that systemd allows

logger = logging.getLogger(__name__)


class Watchdog:
    """Does nothing where systemd does not ask for it.

    What must come to an end runs within `step`. One that has not ended after `stalled_s`, or an event loop that is
    stuck, ends the signs of life, and systemd starts the agent anew.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        stalled_s: float = STALLED_S,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._stalled_s = stalled_s
        self._steps: dict[int, tuple[str, float]] = {}
        self._number = 0
        self._told = False
        microseconds = environment.get("WATCHDOG_USEC", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.period_s = int(microseconds) / 1e6 if microseconds.isdecimal() and for_us else 0.0

    def ready(self, status: str = "") -> None:
        """The start is over. status: a line for `systemctl status`."""
        self._say("READY=1", f"STATUS={status}")

    def alive(self) -> None:
        """One sign of life, unless something is stalled."""
        if stalled := self.stalled():
            if not self._told:
                logger.error("no more signs of life: %s for %g s", stalled, self._stalled_s)
            self._told = True
            return
        self._told = False
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """what: as in "WHAT for 60 s"."""
        self._number += 1
        number = self._number
        self._steps[number] = what, self._clock()
        try:
            yield
        finally:
            del self._steps[number]

    def stalled(self) -> str:
        """What does not end; empty: nothing."""
        began = self._clock() - self._stalled_s
        return next((what for what, since in self._steps.values() if since < began), "")

    async def run(self) -> None:
        """Signs of life, until it is cancelled."""
        while True:
            self.alive()
            await asyncio.sleep(self.period_s / SIGNS if self.period_s else self._stalled_s)

    def _say(self, *words: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:  # systemd's loss, not ours
            to.setblocking(False)
            to.sendto("\n".join(words).encode(), address)
