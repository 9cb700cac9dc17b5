"""What the records of `observations` hold, telemetry excepted: decoded, and refused where they cannot be true."""

from __future__ import annotations

from typing import Any

import msgspec

from processors.roster import check_distinct
from processors.versions import check_version
from schemas import recording, records
from schemas.log import Record

_KINDS = {
    kind: msgspec.json.Decoder(type_)
    for kind, type_ in (
        ("inventory", records.Inventory),
        ("kernel", records.KernelFault),
        ("health", records.HealthIncident),
        ("violation", records.PolicyViolation),
        ("links", records.LinkStatus),
        ("diagnostic", records.Diagnostic),
        ("bandwidth", records.Bandwidth),
        ("placement", records.Placement),
        ("command-result", records.CommandResult),
        ("serving", records.Serving),
        ("revalidated", records.Revalidated),
        ("source", records.SourceStatus),
        ("operator", records.Operator),
        ("policy", records.PolicyChange),
        ("tick", records.Tick),
    )
}


OF_ONE_GPU = (
    records.KernelFault,
    records.HealthIncident,
    records.PolicyViolation,
    records.LinkStatus,
    records.Diagnostic,
)
OF_NODE = (records.Inventory, records.SourceStatus)  # signals see these with all GPUs of the node
FOR_CLUSTER = (
    records.LinkStatus,
    records.Bandwidth,
    records.Placement,
    records.CommandResult,
    records.Serving,
    records.Revalidated,
)  # handed on to the cluster stage


def observed(record: Record) -> Any:
    """The observation in `record`. Raises `processors.versions.NOT_UNDERSTOOD`."""
    known = _KINDS.get(record.kind)
    if record.kind == recording.UNREADABLE:
        raise ValueError(recording.complaint(record.value))
    if known is None:
        raise ValueError(f"records of kind {record.kind!r} are not understood")
    found = known.decode(record.value)
    check_version(found.v)
    check_numbers(found)
    if found.node:
        check_key(record, found.node)
    return found


def check_numbers(observed: Any) -> None:
    """Raises ValueError for a number in a record that no time, counter or code can be."""
    for field in observed.__struct_fields__:
        value = getattr(observed, field)
        if isinstance(value, int) and abs(value) > 2**53:
            raise ValueError(f"{field} is out of range: {value}")
    code = getattr(observed, "code", None)
    if code is not None and not 0 <= code < 2**31:
        raise ValueError(f"no Xid has the code {code}")


def check_key(record: Record, node: str) -> None:
    """Raises ValueError: under another key the record may stand in a partition that does not know the node."""
    if record.key != node:
        raise ValueError(f"key {record.key!r} is not the node that the record is of, {node!r}")


def named(observation: Any) -> list[records.Gpu]:
    """The GPUs that it gives rows to. Raises ValueError if it lists one twice, or one without a name."""
    if isinstance(observation, records.Inventory):
        gpus = [records.Gpu(uuid=gpu.uuid, bdf=gpu.bdf) for gpu in observation.gpus]
        check_distinct(gpus)
        return gpus
    if isinstance(observation, records.KernelFault) and observation.fault not in ("xid", "bus-loss"):
        return []  # of a switch
    if not isinstance(observation, OF_ONE_GPU):
        return []
    uuid, bdf = observation.uuid, getattr(observation, "bdf", "")
    return [records.Gpu(uuid=uuid, bdf=bdf)] if uuid or bdf else []
