"""Slurm as a scheduler that can be told: its nodes are drained, emptied and returned.

Slurm keeps what is ours, as the reason of a drain; it has no compare-and-set, so that between our look at a node and
our change of it (milliseconds) an administrator's change can be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sinks.schedulers.adapter import Adapter, Away, Capabilities, Gpu, Refused, Standing
from sinks.schedulers.slurm.access import Access
from sinks.schedulers.slurm.job import Job
from sinks.schedulers.slurm.names import NodeNames
from sinks.schedulers.slurm.node import Node, is_name, reason

# Newer releases keep a reason after the drain is over; what is kept must not look like ours.
RETURNED = "returned by gpu-vitals"
RETURNED_DOWN = "returned by gpu-vitals; went down while it was drained: resume it when it is sound"


class Slurm(Adapter):
    """in_flight: all jobs on the node. That one of them was given another GPU is Slurm's bookkeeping alone unless
    devices are confined, and what is done to a GPU may need the whole node.
    """

    name = "slurm"
    capabilities = Capabilities(weight="none", unit="node", in_flight=True, force=True)

    def __init__(self, access: Access, names: NodeNames, cancels: bool) -> None:
        """cancels: `force` ends what cannot be requeued."""
        self._access = access
        self._names = names
        self._cancels = cancels

    async def units(self, gpus: Sequence[Gpu]) -> Mapping[Gpu, Collection[str]]:
        named = {gpu: self._names.of(gpu.node) for gpu in gpus}
        try:
            known = await self._nodes(set(named.values()))
        except Refused as error:
            raise Away(str(error)) from None
        return {gpu: (name,) if name in known else () for gpu, name in named.items()}

    async def look(self, units: Collection[str]) -> Mapping[str, Standing]:
        try:
            nodes = await self._nodes(units)
            jobs = await self._jobs(nodes)
        except Refused as error:
            raise Away(str(error)) from None
        unknown = Standing("unknown", detail="Slurm knows no such node")
        return {
            unit: nodes[unit].standing(sum(unit in each.nodes for each in jobs)) if unit in nodes else unknown
            for unit in units
        }

    async def drain(self, unit: str, note: str) -> None:
        """Who is out already keeps its reason, an administrator's or ours.

        Also who is down: by its reason Slurm knows whether it may return by itself (ReturnToService).
        """
        node = await self._node(unit)
        if not node.is_out:
            await self._access.change(unit, "DRAIN", reason(note))

    async def force(self, unit: str, note: str) -> None:
        """Jobs start anew elsewhere. Refused: some cannot, and may not be cancelled."""
        await self.drain(unit, note)
        kept: list[str] = []
        for job in await self._jobs([unit]):
            if job.ends or not (why := await self._access.requeue(job)):
                continue
            if self._cancels:
                await self._access.cancel(job)
            else:
                kept.append(f"{job.id} ({why})")
        if kept:
            raise Refused(f"{unit}: not requeued: {', '.join(kept)}; wait for them, or let us end them: cancel = true")

    async def remove(self, unit: str, note: str) -> None:
        """Drained is all there is: with its last job the node lets go of everything."""
        await self.drain(unit, note)

    async def add(self, unit: str) -> None:
        node = await self._node(unit)
        if node.is_ours:
            await self._access.change(unit, "UNDRAIN", RETURNED_DOWN if node.is_down else RETURNED)

    async def _node(self, unit: str) -> Node:
        if node := (await self._nodes([unit])).get(unit):
            return node
        raise Refused(f"{unit}: Slurm knows no such node")

    async def _nodes(self, names: Collection[str]) -> Mapping[str, Node]:
        asked = {name for name in names if is_name(name)}
        return await self._access.nodes(asked) if asked else {}

    async def _jobs(self, names: Collection[str]) -> list[Job]:
        return await self._access.jobs(names) if names else []
