"""What every record carries, and how GPUs are named."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What all records carry: schema version, event time, cluster and node."""

    v: int = 1
    ts: int
    cluster: str = "default"
    node: str


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A GPU's identity: UUID and PCI address (`dddd:bb:dd`), either empty while unknown, never both."""

    uuid: str = ""
    bdf: str = ""


def gpu_key(node: str, uuid: str, bdf: str) -> str:
    """The key of a GPU's records: its UUID, else `node/BDF`."""
    return uuid or f"{node}/{bdf}"


class Observation(Record, kw_only=True):
    """Said by an agent: numbered per `epoch` (the agent's start, ms), so that doubles and gaps show."""

    epoch: int = 0
    seq: int = 0


encode = msgspec.json.Encoder().encode
