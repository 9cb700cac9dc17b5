"""What a scheduler holds: the weights, followed in the background, and a choice by them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from pipeline.client.errors import NoHealthyGpus
from pipeline.client.source import Source
from pipeline.client.view import Change, View, Workers
from sinks.fleet import AsOf

if TYPE_CHECKING:
    import numpy as np

STALE_AFTER_S = 60.0  # several signs of life, which HTTP has every 15 s and Kafka every second
READY_S = 30.0
AGAIN_S = 15.0
CLOSE_S = 10.0

logger = logging.getLogger(__name__)


class HealthWeights:
    """Weights of workers, or of all GPUs, always the newest that the source has told.

    source: an `HttpSource` or a `KafkaSource`, for this one alone. workers: name to its GPUs, by UUID or as NODE/BDF;
    a worker weighs as much as the worst of them. None: each GPU is chosen for itself, by its key.
    unheard_weight: of a worker's GPU about which nothing was ever said.
    stale_after_s: the view counts as stale when it has not been known to be all that is decided for so long.
    stale: what then holds: "freeze", the last weights, or "stop", nothing is selected.
    on_change: told of weights that have changed; called in the following thread, under asyncio in the loop.

    Guarantees: no weight travels back in time; a weight of 0 is never selected; nothing is selected before all
    that stands has been read once. Any thread may call anything.
    """

    def __init__(
        self,
        source: Source,
        *,
        workers: Workers | None = None,
        unheard_weight: float = 0.0,
        stale_after_s: float = STALE_AFTER_S,
        stale: Literal["freeze", "stop"] = "freeze",
        on_change: Callable[[Sequence[Change]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 <= unheard_weight <= 1.0:
            raise ValueError(f"unheard_weight: {unheard_weight}: not between 0.0 and 1.0")
        if not stale_after_s > 0.0:
            raise ValueError(f"stale_after_s: {stale_after_s}: must be more than 0")
        if stale not in ("freeze", "stop"):
            raise ValueError(f'stale: {stale!r}: "freeze" or "stop"')
        self._source = source
        self._view = View(workers, unheard_weight, self._changed)
        self._stale_after_s = stale_after_s
        self._stops = stale == "stop"
        self._on_change = on_change
        self._clock = clock
        self._rng = random.Random()
        self._said_stale = False
        self._stopping = Event()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Follow, in a thread of its own. Once."""
        if self._thread is not None:
            raise RuntimeError("health weights: started already; each start needs a new one")
        self._thread = Thread(target=self._follow, name="health-weights", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Follow no more; the weights stay as they are. Harmless twice."""
        self._stopping.set()
        self._source.stop()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Until all that stands has been read once. Raises TimeoutError, with the reason."""
        if not self._view.wait_live(timeout_s):
            raise TimeoutError(f"no weights after {timeout_s:g} s: {self.problem or 'the decisions are being read'}")

    async def ready(self, timeout_s: float = READY_S) -> None:
        """`wait_ready`, without holding up the loop."""
        await asyncio.to_thread(self.wait_ready, timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # --- choosing -----------------------------------------------------------------------------------------------

    def select(self, rng: random.Random | None = None) -> str:
        """A worker, or the key of a GPU, at random in proportion to the weights; O(log n).

        Raises NoHealthyGpus: nothing weighs more than 0, or the view is stale and shall stop.
        """
        self._check_age()
        return self._view.draw(rng or self._rng)

    def select_many(self, rng: np.random.Generator, n: int) -> list[str]:
        """n at once, each drawn for itself, from the weights of one moment. Needs numpy; raises as `select` does."""
        self._check_age()
        return self._view.table().draw(rng, n)

    def set_workers(self, workers: Workers | None) -> None:
        """Choose from these from now on. Raises ValueError: a worker without GPUs."""
        self._view.set_workers(workers)

    # --- looking ------------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, float]:
        """All that can be chosen from, with the weights of one moment."""
        return self._view.weights()

    def weight(self, name: str) -> float | None:
        """None: no such worker, or GPU."""
        return self._view.weight(name)

    @property
    def as_of(self) -> AsOf:
        """The newest decision that is in the weights: id, offset, origin, and ts (ms) of its cause."""
        return self._view.as_of

    @property
    def age_s(self) -> float:
        """For how long the weights may have been out of date; infinite before all has been read once."""
        return self._clock() - self._view.current_s

    @property
    def stale(self) -> bool:
        return self.age_s > self._stale_after_s

    @property
    def problem(self) -> str:
        """Why nothing comes at the moment; empty: it does."""
        return self._source.problem

    # --- within -------------------------------------------------------------------------------------------------

    def _check_age(self) -> None:
        if self._clock() > self._view.current_s + self._stale_after_s:
            if self._stops or not self._said_stale:
                self._is_stale()
        elif self._said_stale:
            self._said_stale = False
            logger.warning("health weights: current again")

    def _is_stale(self) -> None:
        if not self._view.live:
            raise self._view.nothing()
        told = f"the weights may be {self.age_s:.0f} s old (stale_after_s {self._stale_after_s:g})"
        why = f"{told}: {self.problem}" if self.problem else told
        if not self._said_stale:
            self._said_stale = True
            logger.warning(
                "health weights: %s; %s", why, "nothing is selected" if self._stops else "they stay in force"
            )
        if self._stops:
            raise NoHealthyGpus(why)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._source.run(self._view)
            except Exception:
                logger.exception("health weights: following failed; again in %g s", AGAIN_S)
                self._stopping.wait(AGAIN_S)

    def _changed(self, changes: list[Change]) -> None:
        if self._on_change is None:
            return
        if self._loop is None:
            self._call(changes)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call, changes)

    def _call(self, changes: list[Change]) -> None:
        assert self._on_change is not None
        try:
            self._on_change(changes)
        except Exception:
            logger.exception("health weights: on_change failed; the weights go on")
