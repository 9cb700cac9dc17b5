"""Slurm by slurmrestd. Its API has a version in each path; nodes can be changed from v0.0.39 (Slurm 23.02) on.

It has no way to requeue a job, and lists all jobs of the cluster each time: where the commands can be had, take them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from sinks.schedulers.adapter import Away, Refused
from sinks.schedulers.slurm import job, node
from sinks.schedulers.slurm.access import ENDED, Access, Change, failure
from sinks.schedulers.slurm.job import Job
from sinks.schedulers.slurm.node import Node
from sinks.schedulers.slurm.rest_client import RestClient

FIRST, LAST = 39, 42  # the last digits of the versions that we speak
UPDATE = re.compile(r"/slurm/v0\.0\.(\d+)/node/\{node_name\}")
API = "/openapi/v3"
SINGLE_MAX = 16  # more nodes than that are asked for in one call, with all others
NO_REQUEUE = "slurmrestd cannot requeue jobs"


class Rest(Access):
    def __init__(self, client: RestClient) -> None:
        self._client = client
        self._version = ""

    async def nodes(self, names: Collection[str]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        if len(names) <= SINGLE_MAX:
            for name in sorted(names):
                told = await self._ask("GET", f"node/{quote(name, safe='')}", accept_errors=True)
                if told.get("errors"):
                    break  # perhaps it is not there: how that is said differs between releases
                found |= self._parse_nodes(told)
            else:
                return found
        told = await self._ask("GET", "nodes/")
        return {name: each for name, each in self._parse_nodes(told).items() if name in names}

    async def jobs(self, names: Collection[str]) -> list[Job]:
        told = await self._ask("GET", "jobs/")
        try:
            jobs = job.from_json(told["jobs"])
        except (KeyError, ValueError) as error:
            raise Away(f"{self._client.url}: {error}") from None
        return [each for each in jobs if each.holds and not each.nodes.isdisjoint(names)]

    async def change(self, name: str, to: Change, reason: str) -> None:
        await self._ask("POST", f"node/{quote(name, safe='')}", {"state": [to], "reason": reason})

    async def requeue(self, job: Job) -> str:
        return NO_REQUEUE

    async def cancel(self, job: Job) -> None:
        try:
            await self._ask("DELETE", f"job/{quote(job.whole, safe='')}")
        except Away as error:
            if not any(each in str(error) for each in ENDED):
                raise

    def _parse_nodes(self, told: Mapping[str, Any]) -> dict[str, Node]:
        try:
            return node.from_json(told["nodes"])
        except (KeyError, ValueError) as error:
            raise Away(f"{self._client.url}: {error}") from None

    async def _ask(self, method: str, path: str, body: Any = None, accept_errors: bool = False) -> Mapping[str, Any]:
        """The answer to a call that went well; accept_errors: or to one that slurmrestd answers with errors."""
        if not self._version:
            self._version = await self._newest()
        status, told = await self._client.call(method, f"/slurm/{self._version}/{path}", body)
        if status == 404 and not isinstance(told, dict):
            self._version = ""  # it was upgraded, or downgraded, while we ran
        if not isinstance(told, dict):
            raise Away(f"{self._client.url}: {status}: the answer is not an object of JSON: is that slurmrestd?")
        errors = told.get("errors") or []
        if (errors or status >= 300) and not (errors and accept_errors):
            raise failure(self._client.url, _words(errors) or f"status {status}")
        return told

    async def _newest(self) -> str:
        """The newest version that both speak. Raises Refused: there is none."""
        status, told = await self._client.call("GET", API)
        paths = told.get("paths") if isinstance(told, dict) else None
        if status != 200 or not isinstance(paths, dict):
            raise Away(f"{self._client.url}: {status}: no description of an API: is that slurmrestd?")
        offered = {int(found[1]) for path, calls in paths.items() if (found := UPDATE.match(path)) and "post" in calls}
        usable = [each for each in offered if FIRST <= each <= LAST]
        if usable:
            return f"v0.0.{max(usable)}"
        versions = sorted({int(found[1]) for path in paths if (found := UPDATE.match(path))})
        has = ", ".join(f"v0.0.{each}" for each in versions) or "none that changes nodes"
        raise Refused(
            f"{self._client.url}: its API cannot be used to change nodes: v0.0.{FIRST} (Slurm 23.02) to v0.0.{LAST} is"
            f' needed, it has {has}; use Slurm\'s commands instead (access = "commands")'
        )


def _words(errors: list[Any]) -> str:
    """What slurmrestd says about a failure."""
    said = [str(each.get("error") or each.get("description") or each) for each in errors if isinstance(each, dict)]
    return "; ".join(dict.fromkeys(said))
