"""Discovery by etcd, through its JSON gateway: each record hangs on the lease of its worker, and goes with it.

A lease is never revoked here: the worker would exit.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sinks.schedulers.adapter import Away, Refused
from sinks.schedulers.dynamo.discovery import Discovery, Key, Record, WorkerGone, parse
from sinks.schedulers.dynamo.gateway import Gateway
from sinks.schedulers.dynamo.plain_http import Answered
from sinks.tickets.http_client import Secret

INSTANCES, CARDS = "v1/instances/", "v1/mdc/"
TRIES = 8  # at a key that others change, too


class EtcdDiscovery(Discovery):
    def __init__(
        self, endpoints: Sequence[str], user: str, secret: Secret, context: ssl.SSLContext | None = None
    ) -> None:
        """endpoints: `http://HOST:PORT` of members of one cluster. user: empty = none. context: None = the default."""
        self._gateway = Gateway(endpoints, user, secret, context)
        self._cards: dict[str, tuple[Key, bytes]] = {}
        self._cards_of, self._cards_revision = "", 0  # the cluster, and what we have seen of it
        self._reading = asyncio.Lock()
        self.name = ", ".join(endpoints)

    @property
    def place(self) -> str:
        return f"etcd:{self._gateway.cluster}"

    async def instances(self) -> Mapping[str, Key]:
        answer = await self._gateway.ask("kv/range", {**_below(INSTANCES), "keys_only": True})
        return _keys(answer, INSTANCES)

    async def read(self, natives: Sequence[str]) -> list[Record]:
        answers = await asyncio.gather(*(self._gateway.ask("kv/range", {"key": _encoded(each)}) for each in natives))
        return [_record(found) for answer in answers for found in answer.get("kvs", ())]

    async def cards(self) -> Mapping[str, tuple[Key, bytes]]:
        """Only those are read that are new: cards are large, and all of them are wanted each time."""
        async with self._reading:
            return await self._all_cards()

    async def living(self, instances: Collection[str]) -> Collection[str]:
        leases = await asyncio.gather(*(self._lives(int(instance, 16)) for instance in instances))
        return {instance for instance, lives in zip(instances, leases, strict=True) if lives}

    async def take_out(self, record: Record) -> bool:
        if record.lease != int(record.key.instance, 16):
            raise Refused(f"{record.native}: not on the lease of its worker: this Dynamo is none that we know")
        unchanged = _is(record.native, record.version)
        deletion = {"request_delete_range": {"key": _encoded(record.native)}}
        answer = await self._gateway.ask("kv/txn", {"compare": [unchanged], "success": [deletion]})
        return bool(answer.get("succeeded"))

    async def put_back(self, record: Record) -> None:
        """What is there is written again as it is: a deletion of ours that is still on its way then misses it."""
        for _ in range(TRIES):
            there = next(iter(await self.read([record.native])), None)
            put = {
                "key": _encoded(record.native),
                "value": base64.b64encode((there or record).value).decode(),
                "lease": str((there or record).lease),
            }
            unchanged = _is(record.native, there.version if there else "0")
            try:
                answer = await self._gateway.ask("kv/txn", {"compare": [unchanged], "success": [{"request_put": put}]})
            except Answered as error:
                if "lease not found" in error.words:
                    raise WorkerGone from None
                raise
            if answer.get("succeeded"):
                return
        raise Away(f"{record.native}: changed by others all the time")

    async def close(self) -> None:
        self._gateway.close()

    async def _all_cards(self) -> Mapping[str, tuple[Key, bytes]]:
        answer = await self._read_cards()
        if self._cards_of != self._gateway.cluster or int(answer["header"]["revision"]) < self._cards_revision:
            self._cards, self._cards_of, self._cards_revision = {}, self._gateway.cluster, 0
            answer = await self._read_cards()
        there, new = (each["response_range"] for each in answer["responses"])
        keys = _keys(there, CARDS)
        values = {_decoded(found["key"]).decode(): _decoded(found.get("value", "")) for found in new.get("kvs", ())}
        known = {native: value for native, (_, value) in self._cards.items()} | values
        self._cards = {native: (key, known[native]) for native, key in keys.items()}
        self._cards_revision = int(answer["header"]["revision"])
        return self._cards

    async def _read_cards(self) -> Any:
        """All keys, and the values that are newer than those we have: of one moment."""
        changed = {**_below(CARDS), "min_mod_revision": str(self._cards_revision + 1)}
        ranges = ({**_below(CARDS), "keys_only": True}, changed)
        return await self._gateway.ask("kv/txn", {"success": [{"request_range": each} for each in ranges]})

    async def _lives(self, lease: int) -> bool:
        if lease >= 1 << 63:  # no lease of etcd
            return False
        return int((await self._gateway.ask("lease/timetolive", {"ID": str(lease)})).get("TTL", 0)) >= 0


def _below(prefix: str) -> dict[str, Any]:
    return {"key": _encoded(prefix), "range_end": _encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1))}


def _is(native: str, version: str) -> dict[str, str]:
    """version: revision of its last change; "0" = it is not there."""
    return {"key": _encoded(native), "target": "MOD", "result": "EQUAL", "mod_revision": version}


def _keys(answer: Any, prefix: str) -> dict[str, Key]:
    natives = (_decoded(found["key"]).decode("utf-8", "replace") for found in answer.get("kvs", ()))
    return {native: key for native in natives if (key := parse(native.removeprefix(prefix)))}


def _record(found: Any) -> Record:
    native = _decoded(found["key"]).decode()
    key = parse(native.removeprefix(INSTANCES))
    assert key is not None, native
    return Record(key, native, _decoded(found.get("value", "")), int(found.get("lease", 0)), found["mod_revision"])


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)
