"""What is decided about each GPU, as the weights of those that a scheduler chooses from: its workers, or the GPUs.

No weight travels back in time (`sinks.newest`), however decisions are delivered: doubled, late, by a server that is
behind another one, or again from the beginning.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf
from threading import Event, Lock
from typing import NamedTuple

from pipeline.client.errors import NoHealthyGpus
from pipeline.client.lottery import Lottery, Table
from pipeline.client.said import Said
from pipeline.kafka import wire
from schemas.counts import counted
from schemas.log import Record
from schemas.states import Condition
from sinks.fleet import AsOf
from sinks.newest import Newest

PIECE = 500  # decisions that one lock is held for: a large fleet holds up those who select for a moment only
UNHEARD, GONE = "never heard of", "gone"
FIT = (Condition.HEALTHY, Condition.WARNING)  # then the state of its case says why it weighs nothing

Workers = Mapping[str, Sequence[str]]

logger = logging.getLogger(__name__)


class Change(NamedTuple):
    """The weight of a worker, or GPU, as it was and is; None: not known then."""

    name: str
    before: float | None
    after: float | None


class Gpu(NamedTuple):
    weight: float
    condition: str
    state: str
    place: str


class View:
    """Fed by one thread, read by any number.

    workers: name to its GPUs, by UUID or as NODE/BDF; None: each GPU for itself.
    unheard_weight: of a worker's GPU about which nothing was ever said. changed: called in the feeding thread.
    """

    def __init__(
        self,
        workers: Workers | None = None,
        unheard_weight: float = 0.0,
        changed: Callable[[list[Change]], None] = lambda changes: None,
    ) -> None:
        self._lock = Lock()
        self._went_live = Event()
        self._tell = changed
        self._unheard_weight = unheard_weight
        self._gpus: dict[str, Gpu] = {}
        self._slots: dict[str, str] = {}  # NODE/BDF to the key of the GPU that was decided about there last
        self._gone: set[str] = set()
        self._newest = Newest()
        self._floor: Record | None = None  # how far the view was complete: older news of an unknown key is none
        self._as_of = AsOf()
        self._before: dict[str, float | None] = {}
        self._why: NoHealthyGpus | None = None
        self._workers: dict[str, tuple[str, ...]] | None = None
        self._of: dict[str, list[str]] = {}  # a GPU, as workers name it, to the workers that use it
        self._lottery = Lottery()
        self.live = False
        self.current_s = -inf  # until when this is known to be all that is decided, by the clock of who confirms
        self.unreadable = 0
        self.set_workers(workers)

    # --- for those who follow -----------------------------------------------------------------------------------

    @property
    def as_of(self) -> AsOf:
        """The newest decision in it."""
        return self._as_of

    def knows_more_than(self, as_of: AsOf) -> bool:
        """Whether a whole fleet as of then is older than this."""
        return self.live and _position(as_of) < _position(self._as_of)

    def take(self, said: Sequence[Said], generation: int = 0) -> None:
        """Decisions in the order of the log; what is not newer is left out. generation: of the log."""
        for first in range(0, len(said), PIECE):
            with self._lock:
                self._why = None
                for one in said[first : first + PIECE]:
                    self._take(one, generation)
        self._notify()

    def complete(self, keys: Collection[str], as_of: AsOf, at_s: float) -> None:
        """All that stood at that moment has been taken: it can be used, and other keys than these are gone."""
        with self._lock:
            self._why = None
            for key in [key for key in self._gpus if key not in keys]:
                self._drop(key)
            if _position(as_of) > _position(self._as_of):
                self._as_of = as_of
            self._floor = Record(
                self._as_of.offset, self._as_of.ts, "", "", b"", wire.parse_origin(self._as_of.origin.encode())
            )
            self.current_s = max(self.current_s, at_s)
            if not self.live:
                self.live = True
                self._rebuild()
                self._before = dict.fromkeys(self._lottery.weights())
        self._went_live.set()
        self._notify()

    def confirm(self, generation: int, offset: int, at_s: float) -> None:
        """At that moment the source had nothing behind this offset. One that knows less than this view says nothing."""
        if self.live and (generation, offset) >= _position(self._as_of):
            self.current_s = max(self.current_s, at_s)

    # --- for those who select -----------------------------------------------------------------------------------

    def wait_live(self, timeout_s: float) -> bool:
        return self._went_live.wait(timeout_s)

    def draw(self, rng: random.Random) -> str:
        """Raises NoHealthyGpus."""
        with self._lock:
            if self._lottery.total:
                return self._lottery.draw(rng)
        raise self.nothing()

    def table(self) -> Table:
        """Raises NoHealthyGpus."""
        with self._lock:
            if self._lottery.total:
                return self._lottery.table()
        raise self.nothing()

    def weights(self) -> dict[str, float]:
        with self._lock:
            return self._lottery.weights()

    def weight(self, name: str) -> float | None:
        with self._lock:
            return self._lottery.weight(name)

    def set_workers(self, workers: Workers | None) -> None:
        """From now on choose from these. Raises ValueError: a worker without a GPU."""
        if lonely := [name for name, gpus in (workers or {}).items() if not gpus or isinstance(gpus, str)]:
            raise ValueError(f"worker {lonely[0]!r}: needs a list of its GPUs, by UUID or as NODE/BDF")
        with self._lock:
            self._why = None
            self._workers = None if workers is None else {name: tuple(gpus) for name, gpus in workers.items()}
            self._of = {}
            for name, gpus in (self._workers or {}).items():
                for gpu in dict.fromkeys(gpus):
                    self._of.setdefault(gpu, []).append(name)
            if self.live:
                self._rebuild()

    def nothing(self) -> NoHealthyGpus:
        """Why nothing can be selected. Counted once for each change, not for each call."""
        with self._lock:
            if self._why is None:
                self._why = self._explain()
            return NoHealthyGpus(self._why.why, self._why.counts)

    # --- within the lock ----------------------------------------------------------------------------------------

    def _take(self, said: Said, generation: int) -> None:
        if not said.readable:
            self.unreadable += 1
            if self.unreadable == 1:
                logger.warning(
                    "health weights: %s: weight %s cannot be read; the last one stays", said.key, said.weight
                )
            return
        record = said.record()
        if not self._is_news(record):
            return
        self._newest.add(record)
        if (generation, said.offset) > _position(self._as_of):
            self._as_of = AsOf(generation, said.offset, said.origin, said.ts)
        if said.gone:
            self._drop(said.key)
            return
        assert said.weight is not None
        place = f"{said.node}/{said.bdf}"
        self._gpus[said.key] = Gpu(said.weight, said.condition, said.state, place)
        self._slots[place] = said.key
        self._gone.discard(said.key)
        self._weigh_again(said.key, place)

    def _is_news(self, record: Record) -> bool:
        if record.key not in self._gpus and self._floor is not None:
            known = Newest()
            known.add(self._floor._replace(key=record.key))
            if not known.is_news(record):
                return False
        return self._newest.is_news(record)

    def _drop(self, key: str) -> None:
        gpu = self._gpus.pop(key, None)
        if gpu is None:
            return
        self._gone.add(key)
        if self._slots.get(gpu.place) == key:
            del self._slots[gpu.place]
        self._weigh_again(key, gpu.place)

    def _weigh_again(self, key: str, place: str) -> None:
        if not self.live:
            return
        names: Iterable[str] = [key]
        if self._workers is not None:
            names = (*self._of.get(key, ()), *self._of.get(place, ()))
        for name in names:
            before, after = self._lottery.weight(name), self._weight(name)
            if before == after:
                continue
            self._before.setdefault(name, before)
            if after is None:
                self._lottery.remove(name)
            else:
                self._lottery.set(name, after)

    def _weight(self, name: str) -> float | None:
        if self._workers is None:
            found = self._gpus.get(name)
            return found.weight if found else None
        return min(self._gpu_weight(gpu) for gpu in self._workers[name])

    def _gpu_weight(self, name: str) -> float:
        """A GPU that was known and has gone never counts as one of which nothing was said: that could raise it."""
        if found := self._found(name):
            return found.weight
        return 0.0 if name in self._gone else self._unheard_weight

    def _found(self, name: str) -> Gpu | None:
        return self._gpus.get(name) or self._gpus.get(self._slots.get(name, ""))

    def _rebuild(self) -> None:
        names = self._gpus if self._workers is None else self._workers
        self._lottery = Lottery({name: self._weight(name) or 0.0 for name in names})

    def _explain(self) -> NoHealthyGpus:
        if not self.live:
            return NoHealthyGpus("the decisions have not been read to their end yet")
        names = self._gpus if self._workers is None else self._of
        if not names:
            return NoHealthyGpus("no GPU is known" if self._workers is None else "there are no workers")
        counts = Counter(self._trouble(name) for name in names if not self._gpu_weight(name))
        told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        if self._workers is None:
            return NoHealthyGpus(f"{counted(len(names), 'GPU')}, each of weight 0: {told}", counts)
        return NoHealthyGpus(f"{counted(len(self._workers), 'worker')}, each with a GPU of weight 0: {told}", counts)

    def _trouble(self, name: str) -> str:
        found = self._found(name)
        if found is None:
            return GONE if name in self._gone else UNHEARD
        return found.state if found.condition in FIT else found.condition

    # --- without the lock ---------------------------------------------------------------------------------------

    def _notify(self) -> None:
        with self._lock:
            changes = [
                Change(name, before, after)
                for name, before in self._before.items()
                if (after := self._lottery.weight(name)) != before
            ]
            self._before.clear()
        if changes:
            self._tell(changes)


def _position(as_of: AsOf) -> tuple[int, int]:
    return as_of.generation, as_of.offset
