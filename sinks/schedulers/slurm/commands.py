"""Slurm by its commands: scontrol, squeue, scancel.

Nodes are read as JSON where scontrol can (23.02 and newer), else from its one-line form. Jobs come from squeue in a
format that we ask for, which is the same in every release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from sinks.schedulers.adapter import Away
from sinks.schedulers.slurm import job, node
from sinks.schedulers.slurm.access import ENDED, KEPT, Access, Change, failure
from sinks.schedulers.slurm.job import Job
from sinks.schedulers.slurm.node import Node
from sinks.schedulers.slurm.process import Ran, environment, run

T = TypeVar("T")
NAMES_MAX = 500  # in one call
NO_JSON = "unrecognized option"


class Commands(Access):
    def __init__(self, directory: str, conf: str, deadline_s: float, base: Mapping[str, str]) -> None:
        """directory: of the commands; "": PATH's. base: the environment that they get, less what changes answers."""
        self._directory = directory
        self._env = environment(base, conf)
        self._deadline_s = deadline_s
        self._has_json = True

    async def nodes(self, names: Collection[str]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for some in _pieces(names):
            found |= await self._nodes(some)
        return found

    async def _nodes(self, names: str) -> dict[str, Node]:
        if self._has_json:
            ran = await self._run("scontrol", "--all", "--json", "show", "node", names)
            if NO_JSON in ran.errors:
                self._has_json = False
                return await self._nodes(names)
            _check(ran)
            return _parsed(_from_json, ran.output)
        ran = await self._run("scontrol", "--all", "--oneliner", "show", "node", names)
        if ran.errors.strip():  # names that are not there are no error, but end with 1 where there is nobody else
            _check(ran)
        return _parsed(node.from_lines, ran.output)

    async def jobs(self, names: Collection[str]) -> list[Job]:
        found: dict[str, Job] = {}
        for some in _pieces(names):
            ran = await self._run(
                "squeue",
                "--all",
                "--local",
                "--noheader",
                "--states=all",
                f"--nodelist={some}",
                f"--format={job.FORMAT}",
            )
            _check(ran)
            found |= {each.id: each for each in _parsed(job.from_lines, ran.output) if each.holds}
        return list(found.values())

    async def change(self, name: str, to: Change, reason: str) -> None:
        _check(await self._run("scontrol", "update", f"nodename={name}", f"state={to.lower()}", f"reason={reason}"))

    async def requeue(self, job: Job) -> str:
        ran = await self._run("scontrol", "requeue", job.whole)
        if ran.status == 0 or any(each in ran.words for each in ENDED):
            return ""
        if any(each in ran.words for each in KEPT):
            return ran.words
        raise failure("scontrol", ran.words)

    async def cancel(self, job: Job) -> None:
        ran = await self._run("scancel", job.whole)
        if not any(each in ran.words for each in ENDED):
            _check(ran)

    async def _run(self, program: str, *arguments: str) -> Ran:
        path = str(Path(self._directory) / program) if self._directory else program
        return await run([path, *arguments], self._env, self._deadline_s)


class _Nodes(msgspec.Struct):
    nodes: list[dict[str, object]]


def _from_json(text: str) -> dict[str, Node]:
    return node.from_json(msgspec.json.decode(text, type=_Nodes).nodes)


def _pieces(names: Collection[str]) -> Iterator[str]:
    rest = iter(sorted(names))
    while some := list(islice(rest, NAMES_MAX)):
        yield ",".join(some)


def _check(ran: Ran) -> None:
    if ran.status != 0:
        raise failure("Slurm", ran.words)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    """Raises Away: another release may say it otherwise; until somebody looks, nothing is known."""
    try:
        return parse(text)
    except ValueError as error:  # also msgspec's
        raise Away(f"Slurm's commands: {error}") from None
