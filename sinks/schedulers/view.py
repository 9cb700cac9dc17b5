"""The newest case of every GPU, out of topic `evictions`, in whatever order and however often its records come."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from schemas.log import Record
from schemas.records import Eviction
from schemas.states import CaseState, Step, Wanted
from sinks.newest import Newest
from sinks.schedulers.adapter import Gpu

_eviction = msgspec.json.Decoder(Eviction).decode
_STEPS = {  # of records that name none
    CaseState.IN_SERVICE: Step.IN_SERVICE,
    CaseState.DRAINING: Step.DRAINING,
    CaseState.DRAINED: Step.DRAINED,
}


class Case(NamedTuple):
    """opened: ms, with the GPU its identity. gone: nothing is known under this key any more; it is in service."""

    gpu: Gpu
    cluster: str
    opened: int
    step: Step
    cause: str = ""
    gone: bool = False

    @property
    def is_open(self) -> bool:
        return self.step is not Step.IN_SERVICE

    @property
    def wanted(self) -> Wanted:
        return self.step.wanted


class View:
    """cases: by key, those that are over included: what they have taken out may still have to be put back.

    open: the keys of those that are not over.
    """

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.open: set[str] = set()
        self._newest = Newest()
        self._changed: dict[str, None] = {}

    def take(self, record: Record) -> None:
        """Raises ValueError: it is none that we can read."""
        if not self._newest.is_news(record):
            return
        case = _case(record) if record.value else self._gone(record.key)
        self._newest.add(record)
        self.cases[record.key] = case
        (self.open.add if case.is_open else self.open.discard)(record.key)
        self._changed[record.key] = None

    def changed(self) -> list[str]:
        """The keys of which something was said since this was last asked."""
        found = list(self._changed)
        self._changed.clear()
        return found

    def forget(self, key: str) -> None:
        """Nothing is left to be done for it."""
        self.cases.pop(key, None)

    def _gone(self, key: str) -> Case:
        known = self.cases.get(key)
        if known is not None:
            return known._replace(step=Step.IN_SERVICE, gone=True)
        node, _, bdf = key.rpartition("/")
        gpu = Gpu(node, "", bdf) if node else Gpu("", key, "")
        return Case(gpu, "", 0, Step.IN_SERVICE, gone=True)


def _case(record: Record) -> Case:
    said = _eviction(record.value)
    if said.v != 1:
        raise ValueError(f"schema version {said.v}, expected 1")
    step = said.step or _STEPS[said.state]
    return Case(Gpu(said.node, said.uuid, said.bdf), said.cluster, said.opened, step, said.cause)
