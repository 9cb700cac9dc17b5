"""A connection with all that was made over it. Nothing survives a loss of it: what comes next is another session."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from producers.dcgm import bindings
from producers.dcgm.engine import Address, Engine, EngineError
from producers.dcgm.health import Incident, read_health
from producers.dcgm.inventory import Survey, survey
from producers.dcgm.links import read_links
from producers.dcgm.policy import Policies
from producers.dcgm.values import GPU, Entity, Values
from producers.source import SourceError
from schemas.fields import XID
from schemas.sources import DRIVER, HUNG

T = TypeVar("T")

INTERVAL_S = 1.0
FIELDS_PER_GROUP = 100  # the engine takes 128


class Reading(NamedTuple):
    """What the engine said in one round. incidents, links, survey: None = not asked, or not to be had."""

    values: Values
    events: Values
    incidents: list[Incident] | None
    links: dict[str, list[str]] | None
    survey: Survey | None


class Session:
    """Everything but the constructor and `unwanted` blocks, maybe for minutes: call it in a thread, one at a time.

    A session that is not wanted any more lets go of its connection: at once, or when the call returns in which it
    hangs.
    """

    def __init__(self, address: Address, fields: Sequence[int], policies: Policies | None) -> None:
        """policies: takes violations; None = the engine's policies are left alone."""
        self.survey = Survey()
        self.fields: list[int] = []  # those that the engine knows
        self.unknown: list[int] = []
        self.left_out: list[Entity] = []  # what the engine does not let us watch
        self.impaired: dict[str, str] = {}  # what does not work, and why
        self._address = address
        self._asked = fields
        self._policies = policies
        self._wanted = True
        self._turn = threading.Lock()
        self._engine: Engine | None = None
        self._group: Any = None
        self._samples: list[Any] = []
        self._xids: Any = None

    def open(self) -> None:
        """Connect, and have everything watched. Raises SourceError."""
        self._run(self._open)

    def read(self, since_us: int, *, checks: bool, looks: bool) -> Reading:
        """since_us: from when on to tell all Xids. checks: health and links too; looks: for other GPUs too."""
        return self._run(lambda: self._read(since_us, checks, looks))

    def unwanted(self) -> None:
        """Whatever runs now shall be the last thing that is done here."""
        self._wanted = False

    def close(self) -> None:
        """Let go of the connection; works twice."""
        self._wanted = False
        if self._turn.acquire(blocking=False):  # else the call that runs closes it when it returns
            try:
                engine, self._engine = self._engine, None
                if engine is not None:
                    engine.disconnect()
            finally:
                self._turn.release()

    def _run(self, call: Callable[[], T]) -> T:
        try:
            with self._turn:
                return call()
        finally:
            if not self._wanted:
                self.close()

    def _open(self) -> None:
        engine = self._engine = Engine(bindings.load(), self._address)
        if not self._wanted:  # it has taken minutes
            raise SourceError(f"host engine at {self._address.text}: it has answered too late", cause=HUNG)
        self.survey = survey(engine)
        if not self.survey.gpus:
            what = f"host engine at {self._address.text}: it has no GPU; see what nvidia-smi -L lists"
            raise SourceError(what, cause=DRIVER)
        names = _names()
        self._group, self.left_out = engine.group(next(names), self.survey.entities)
        self.fields = engine.known_fields(self._asked, names)
        self.unknown = [field for field in self._asked if field not in self.fields]
        if len(self.left_out) == len(self.survey.entities):
            return  # all are lost: there is nothing to watch until one is back
        for at in range(0, len(self.fields), FIELDS_PER_GROUP):
            group = engine.fields(self.fields[at : at + FIELDS_PER_GROUP], names)
            engine.watch(self._group, group, INTERVAL_S)
            self._samples.append(group)
        self._xids = engine.fields([XID], names)
        engine.watch(self._group, self._xids, INTERVAL_S)
        engine.update()
        self._optional("health watches", lambda: engine.watch_health(self._group))
        if policies := self._policies:
            policies.clear()
            self._optional("policies", lambda: policies.watch(engine, self._groups_of_one(engine, names)))

    def _groups_of_one(self, engine: Engine, names: Iterator[str]) -> dict[int, Any]:
        watched = [number for number in self.survey.gpus if (GPU, number) not in self.left_out]
        return {number: engine.group(next(names), [(GPU, number)])[0] for number in watched}

    def _read(self, since_us: int, checks: bool, looks: bool) -> Reading:
        engine = self._engine
        if engine is None:
            raise SourceError(f"host engine at {self._address.text}: not connected")
        found = survey(engine) if looks else None
        if self._xids is None:
            return Reading({}, {}, None, None, found)
        values: Values = {}
        for fields in self._samples:
            _merge(values, engine.latest(self._group, fields))
        last, since = engine.latest(self._group, self._xids), engine.since(self._group, self._xids, since_us)
        _merge(values, last)
        incidents = links = None
        if checks and "health watches" not in self.impaired:
            incidents = self._optional("health check", lambda: read_health(engine.health(self._group)))
        if checks:
            links = self._optional("NVLink states", lambda: read_links(engine.links(), self.survey))
        return Reading(values, since, incidents, links, found)

    def _optional(self, what: str, call: Callable[[], T]) -> T | None:
        """What the engine can do without, and we too: then it is said why. Raises EngineError if nothing works."""
        try:
            answer = call()
        except EngineError as error:
            if error.connection_gone:
                raise
            self.impaired[what] = str(error)
            return None
        self.impaired.pop(what, None)
        return answer


def _names() -> Iterator[str]:
    """Names for groups of fields, which must be unique among all clients of the engine, and in containers many
    processes have the same number.
    """
    while True:
        yield f"gpu-vitals-{os.getpid()}-{os.urandom(4).hex()}"


def _merge(values: Values, more: Values) -> None:
    for entity, row in more.items():
        values.setdefault(entity, {}).update(row)
