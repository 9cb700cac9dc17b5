"""The ways to Slurm, and what its words mean: later, never, or already so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Literal

from sinks.schedulers.adapter import Away, Refused
from sinks.schedulers.slurm.job import Job
from sinks.schedulers.slurm.node import Node

Change = Literal["DRAIN", "UNDRAIN"]

# Slurm's own texts (slurm_strerror); the commands and slurmrestd say the same.
DENIED = ("Access/permission denied", "Invalid user id")
NEVER = ("Invalid node name", "Invalid node state")
ENDED = ("Invalid job id specified", "Job/step already completing or completed")
KEPT = ("Only batch jobs are accepted", "Requested operation is presently disabled", "not supported")
MEND = "run as SlurmUser or root, or give the user AdminLevel=Admin: sacctmgr modify user NAME set AdminLevel=Admin"


def failure(where: str, words: str) -> Away | Refused:
    """What to raise. Whatever is not known as a refusal passes."""
    if any(each in words for each in DENIED):
        return Refused(f"{where}: {words}; {MEND}")
    if any(each in words for each in NEVER):
        return Refused(f"{where}: {words}")
    return Away(f"{where}: {words}")


class Access(ABC):
    """Any call raises Away, and Refused."""

    @abstractmethod
    async def nodes(self, names: Collection[str]) -> dict[str, Node]:
        """Those of them that Slurm knows."""

    @abstractmethod
    async def jobs(self, names: Collection[str]) -> list[Job]:
        """Jobs that hold one of these nodes; Slurm knows them all."""

    @abstractmethod
    async def change(self, name: str, to: Change, reason: str) -> None:
        """UNDRAIN takes the drain back and nothing else: who is down stays down."""

    @abstractmethod
    async def requeue(self, job: Job) -> str:
        """It starts anew elsewhere. "": done, or it has ended; else why it cannot be."""

    @abstractmethod
    async def cancel(self, job: Job) -> None:
        """It ends; that it has already is fine."""
