"""What the source has to say beside samples, as records: each when it is another than before."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import msgspec

from producers.nvml.device import Device
from producers.nvml.events import Happened
from producers.nvml.session import Session
from producers.source import Observed
from schemas import records
from schemas.sources import LOST


class Teller:
    """Remembers what was told last. source: its name."""

    def __init__(self, source: str, node: str, cluster: str) -> None:
        self._source = source
        self._node = node
        self._cluster = cluster
        self._told: dict[Hashable, Any] = {}

    def reopened(self) -> None:
        """The supervisor has said that all is well: what is not is to be said again."""
        self._told.pop("status", None)

    def changes(self, session: Session, ts: int) -> Iterator[Observed]:
        """What is said when it changes: the inventory, the links of each GPU, and what is wrong."""
        gpus = [device.info for device in session.devices]
        inventory = records.Inventory(
            ts=0,
            cluster=self._cluster,
            node=self._node,
            gpus=gpus,
            driver=session.driver,
            boot=session.boot,
            driver_load=session.driver_load,
        )
        yield from self._changed("inventory", "inventory", inventory, ts)
        for device in session.devices:
            if device.links or device.gpu in self._told:
                links = records.LinkStatus(
                    ts=0,
                    cluster=self._cluster,
                    node=self._node,
                    uuid=device.info.uuid,
                    bdf=device.info.bdf,
                    links=device.links,
                )
                yield from self._changed(device.gpu, "links", links, ts)
        trouble = "; ".join(_troubles(session))
        status = records.SourceStatus(
            ts=0,
            cluster=self._cluster,
            node=self._node,
            source=self._source,
            state="failing" if trouble else "ok",
            detail=trouble or _silence(session),
            cause=LOST if any(device.trouble for device in session.devices) or session.nameless else "",
        )
        if trouble or status.detail or "status" in self._told:
            yield from self._changed("status", "source", status, ts)

    def _changed(self, what: Hashable, kind: str, record: Any, ts: int) -> Iterator[Observed]:
        """`record` with its time, if it is another one than the last one of `what`."""
        if self._told.get(what) != record:
            self._told[what] = record
            yield self._say(kind, msgspec.structs.replace(record, ts=ts))

    def fault(self, xid: Happened) -> Observed:
        fault = records.KernelFault(
            ts=xid.ts,
            cluster=self._cluster,
            node=self._node,
            fault="xid",
            code=xid.code,
            bdf=xid.gpu.bdf,
            uuid=xid.gpu.uuid,
            gi=xid.gi,
            ci=xid.ci,
            source=self._source,
        )
        return self._say("kernel", fault)

    def _say(self, kind: str, record: records.Record) -> Observed:
        return Observed(self._node, kind, records.encode(record))


def _troubles(session: Session) -> Iterator[str]:
    yield from (f"{_title(device)}: {device.trouble}" for device in session.devices if device.trouble)
    if session.nameless:
        yield f"{session.nameless} more GPUs cannot be opened, and it cannot be told which; see the kernel log"
    if session.events.trouble:
        yield session.events.trouble


def _silence(session: Session) -> str:
    """What is not told for good; empty if there is nothing."""
    silent = [gpu.bdf or gpu.uuid for gpu in session.events.silent]
    return f"no Xids are told of {', '.join(silent)}; read the kernel's log too (source kmsg)" if silent else ""


def _title(device: Device) -> str:
    return " ".join(filter(None, ("GPU", device.info.bdf, device.info.uuid)))
