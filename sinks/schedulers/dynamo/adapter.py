"""Dynamo as a scheduler: a unit is a worker process, named by its instance id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import msgspec

from sinks.schedulers.adapter import Adapter, Away, Capabilities, Gpu, Refused, Standing
from sinks.schedulers.dynamo.discovery import Discovery, Record, WorkerGone
from sinks.schedulers.dynamo.in_flight import SystemServers
from sinks.schedulers.dynamo.operator_command import OperatorCommand
from sinks.schedulers.dynamo.saved import Saved, SavedRecord, SavedUnit
from sinks.schedulers.dynamo.standing import Facts, standing
from sinks.schedulers.dynamo.workers import GpuMap, Worker, workers

logger = logging.getLogger(__name__)

TRIES = 5  # at a record that its worker writes again meanwhile

T = TypeVar("T")
P = ParamSpec("P")


class Dynamo(Adapter):
    """Drained: the records are saved on disk, then deleted. Back: they are put back, if their worker still lives.

    A worker that has started anew has a new instance id: it is another unit, in service.
    """

    name = "dynamo"
    capabilities = Capabilities(weight="none", unit="worker", in_flight=True, force=False)

    def __init__(
        self,
        discovery: Discovery,
        saved: Saved,
        gpu_map: GpuMap,
        endpoints: Collection[str] = ("generate",),
        stop: OperatorCommand | None = None,
    ) -> None:
        """endpoints: those that requests come in by. stop: ends a worker, for `remove`; None: nobody does for us."""
        self._discovery, self._saved, self._gpu_map, self._endpoints = discovery, saved, gpu_map, frozenset(endpoints)
        self._stop = stop
        self._servers = SystemServers(self._endpoints)
        self._workers: Mapping[str, Worker] = {}
        self._answering: dict[str, str] = {}  # instances, by addresses that no model card tells
        self._lock = asyncio.Lock()
        self._begun: set[asyncio.Task[Any]] = set()

    async def units(self, gpus: Sequence[Gpu]) -> Mapping[Gpu, Collection[str]]:
        await self._know_workers()
        users = await self._whole(self._users())
        return {gpu: sorted(users.get(gpu.uuid, ())) for gpu in gpus}

    async def look(self, units: Collection[str]) -> Mapping[str, Standing]:
        if not self._workers.keys() >= set(units):
            await self._know_workers()
        facts = await self._whole(self._facts(units))
        heard = await asyncio.gather(*(self._servers.hear(self._address(unit), unit) for unit in facts))
        return {unit: standing(each, said) for (unit, each), said in zip(facts.items(), heard, strict=True)}

    async def drain(self, unit: str, note: str) -> None:
        if unit not in self._workers:
            await self._know_workers()
        await self._whole(self._take_out(unit, note))

    async def force(self, unit: str, note: str) -> None:
        raise Refused("Dynamo ends no request from outside: name a force_command, which ends the worker")

    async def remove(self, unit: str, note: str) -> None:
        await self.drain(unit, note)
        if self._stop:
            await self._told(self._stop, unit)
        await self._whole(self._mark_removing(unit, note))

    async def add(self, unit: str) -> None:
        await self._whole(self._put_back(unit))

    async def close(self) -> None:
        if self._begun:
            await asyncio.wait(self._begun)
        await self._discovery.close()
        self._servers.close()
        self._saved.close()

    async def _told(self, command: OperatorCommand, unit: str) -> None:
        """About a worker that lives; about no other one."""
        if await self._discovery.living([unit]):
            await command.run({"instance": unit, "address": self._address(unit)})

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """One after another, and each to its end, even when who has asked waits no longer."""

        async def alone() -> T:
            async with self._lock:
                return await work

        task = asyncio.create_task(alone())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)

    async def _know_workers(self) -> None:
        """From the model cards, and from those who answer at mapped addresses that no card tells."""
        cards = (await self._discovery.cards()).values()
        mapped = self._gpu_map.workers()
        there = {key.instance for key, _ in cards}
        told = {worker.address for worker in workers(cards, mapped, {}).values()}
        answering = {address: unit for address, unit in self._answering.items() if unit in there}
        silent = sorted({each for each in mapped.values() if ":" in each} - told - answering.keys())
        found = await asyncio.gather(*map(self._servers.instance, silent))
        answering |= {address: unit for address, unit in zip(silent, found, strict=True) if unit in there}
        self._answering = answering
        self._workers = workers(cards, mapped, answering)

    async def _users(self) -> Mapping[str, Collection[str]]:
        """The units of each UUID. A worker that has ended after we took it out counts until another one is there."""
        await self._present()
        users: dict[str, set[str]] = {}
        for unit, worker in self._workers.items():
            for uuid in worker.gpus:
                users.setdefault(uuid, set()).add(unit)
        used = frozenset(users)
        ended = [saved for unit, saved in self._ours().items() if unit not in self._workers]
        living = await self._discovery.living([saved.unit for saved in ended])
        for saved in ended:
            if saved.unit not in living and saved.gpus and used.issuperset(saved.gpus):
                await self._forget(saved, "another worker has its GPUs")
                continue
            for uuid in saved.gpus:
                if saved.unit in living or uuid not in used:
                    users.setdefault(uuid, set()).add(saved.unit)
        return users

    async def _facts(self, units: Collection[str]) -> dict[str, Facts]:
        present = await self._present()
        for unit in units:
            saved = self._ours().get(unit)
            there = present.get(unit, ())
            if saved and there and {each.native for each in saved.records}.issubset(there):
                await self._put_back(unit)  # we died before the deletion, or behind the return; or it came by itself
        ours = self._ours()
        living = await self._discovery.living([unit for unit in units if unit not in present])
        return {
            unit: Facts(
                unit in present,
                unit in ours and bool(ours[unit].records),
                ours.get(unit),
                unit in living,
                bool(self._stop),
            )
            for unit in units
        }

    async def _take_out(self, unit: str, note: str) -> None:
        for _ in range(TRIES):
            records = await self._discovery.read((await self._present()).get(unit, ()))
            if not records:
                return
            before = self._ours().get(unit)
            kept = {each.native: each for each in before.records} if before else {}
            kept |= {each.native: SavedRecord(each.key, each.native, each.value, each.lease) for each in records}
            await self._save(self._saved_unit(unit, note, list(kept.values()), bool(before and before.removing)))
            if all([await self._discovery.take_out(record) for record in records]):
                return
        raise Away(f"worker {unit}: its record changes as fast as it is taken out")

    async def _mark_removing(self, unit: str, note: str) -> None:
        await self._present()
        before = self._ours().get(unit)
        if before:
            await self._save(msgspec.structs.replace(before, removing=True))
        elif await self._discovery.living([unit]):  # somebody else has drained it; that it is removed is our doing
            await self._save(self._saved_unit(unit, note, [], True))

    async def _put_back(self, unit: str) -> None:
        await self._present()
        saved = self._ours().get(unit)
        if saved is None:
            return
        try:
            for each in saved.records:
                await self._discovery.put_back(Record(each.key, each.native, each.value, each.lease))
        except WorkerGone:
            await self._forget(saved, "it lives no more, so there is nothing to put back")
        else:
            await self._forget(saved, "")

    async def _present(self) -> Mapping[str, Sequence[str]]:
        """The native names of the instance records that are there, by unit."""
        found: dict[str, list[str]] = {}
        for native, key in (await self._discovery.instances()).items():
            if key.endpoint in self._endpoints:
                found.setdefault(key.instance, []).append(native)
        return found

    def _ours(self) -> Mapping[str, SavedUnit]:
        return self._saved.of(self._discovery.place)

    def _address(self, unit: str) -> str:
        saved = self._ours().get(unit)
        return self._workers[unit].address if unit in self._workers else saved.address if saved else ""

    def _saved_unit(self, unit: str, note: str, records: list[SavedRecord], removing: bool) -> SavedUnit:
        worker = self._workers.get(unit)
        before = self._ours().get(unit)
        return SavedUnit(
            place=self._discovery.place,
            unit=unit,
            records=records,
            address=self._address(unit),
            gpus=sorted(worker.gpus) if worker else before.gpus if before else [],
            note=note,
            removing=removing,
        )

    async def _save(self, saved: SavedUnit) -> None:
        await self._on_disk(self._saved.put, saved)

    async def _forget(self, saved: SavedUnit, why: str) -> None:
        await self._on_disk(self._saved.forget, saved.place, saved.unit)
        if why:
            logger.info("worker %s: %s", saved.unit, why)

    async def _on_disk(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:
            where = error.filename or "saved records"
            raise Away(f"{where}: {(error.strerror or str(error)).lower()}; nothing was changed") from None


class ForcingDynamo(Dynamo):
    """force: a command that ends a worker. With `--migration-limit` its streams are finished by other workers."""

    capabilities = Dynamo.capabilities._replace(force=True)

    def __init__(
        self,
        discovery: Discovery,
        saved: Saved,
        gpu_map: GpuMap,
        endpoints: Collection[str],
        stop: OperatorCommand | None,
        force: OperatorCommand,
    ) -> None:
        super().__init__(discovery, saved, gpu_map, endpoints, stop)
        self._force = force

    async def force(self, unit: str, note: str) -> None:
        await self.drain(unit, note)
        await self._told(self._force, unit)
