"""The contract of a discovery: where the workers of Dynamo say that they are there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

PARTS = 4  # NAMESPACE/COMPONENT/ENDPOINT/INSTANCE; a card of an adapter (LoRA) has its name behind them


class Key(NamedTuple):
    """Of an instance record or a model card. instance: 16 hexadecimal digits, new each time that a worker starts."""

    namespace: str
    component: str
    endpoint: str
    instance: str


def parse(text: str) -> Key | None:
    """The key, without what all keys begin with; None: it is no such key."""
    parts = text.split("/")
    try:
        int(parts[PARTS - 1], 16)
    except (IndexError, ValueError):
        return None
    return Key(*parts[:PARTS])


class Record(NamedTuple):
    """An instance record. native: its name as the discovery writes it. lease: 0 where there are none (files).

    version: tells it from what else may stand under the name later; "" where the value alone does.
    """

    key: Key
    native: str
    value: bytes
    lease: int = 0
    version: str = ""


class WorkerGone(Exception):
    """The worker that the record is of lives no more: there is nothing that could be put back."""


class Discovery(ABC):
    """Every call raises Away. What changes something does it as one step: all of it, or nothing."""

    name: str  # for people

    @property
    @abstractmethod
    def place(self) -> str:
        """Which discovery it is, of all there are: known once a call has been answered."""

    @abstractmethod
    async def instances(self) -> Mapping[str, Key]:
        """The instance records that are there: native name and key."""

    @abstractmethod
    async def read(self, natives: Sequence[str]) -> list[Record]:
        """These of them; who is not there any more is left out."""

    @abstractmethod
    async def cards(self) -> Mapping[str, tuple[Key, bytes]]:
        """All model cards, by native name. They stay there while an instance record is taken out."""

    @abstractmethod
    async def living(self, instances: Collection[str]) -> Collection[str]:
        """Those of them whose worker lives, whether or not they have an instance record now."""

    @abstractmethod
    async def take_out(self, record: Record) -> bool:
        """Delete it, if it stands there as it was read; False: it does not. Raises Refused: it could not return."""

    @abstractmethod
    async def put_back(self, record: Record) -> None:
        """It stands there: put back, or as somebody has put it there meanwhile; that is never replaced.

        After it no `take_out` that was begun before can still have an effect. It never outlives its worker.
        Raises WorkerGone.
        """

    async def close(self) -> None:
        """Let go; harmless twice."""
