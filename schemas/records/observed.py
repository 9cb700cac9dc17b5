"""Observations: what nodes say of themselves, and what is measured there."""

from __future__ import annotations

import msgspec

from schemas.records.base import Observation


class GpuInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU as its node lists it. peers: UUID -> NVLinks that join it to that GPU directly.

    mig: MIG mode is on. instances: the numbers of its GPU instances; None where the source cannot tell.
    """

    uuid: str
    bdf: str = ""
    model: str = ""
    serial: str = ""
    mig: bool = False
    peers: dict[str, int] = {}
    instances: list[int] | None = None


class Inventory(Observation, kw_only=True, tag_field="kind", tag="inventory"):
    """The GPUs of a node, complete.

    With a new `boot` (boot id) or `driver_load` volatile counters count anew, in samples from `ts` on: older ones may
    come later than this record.
    """

    gpus: list[GpuInfo]
    driver: str = ""
    boot: str = ""
    driver_load: str = ""
    rack: str = ""


class KernelFault(Observation, kw_only=True, tag_field="kind", tag="kernel"):
    """A fault the kernel (or Fabric Manager) printed, parsed; `raw` keeps the lines as they stood.

    fault: "xid", "sxid", "bus-loss" or "unparsed". bdf: of the GPU, of the switch for an SXid.
    """

    fault: str
    code: int | None = None
    bdf: str = ""
    uuid: str = ""
    gi: int | None = None
    ci: int | None = None
    pid: int | None = None
    process: str = ""
    message: str = ""
    previous: int | None = None
    severity: str = ""
    recovery_action: int | None = None
    source: str = ""
    raw: str = ""


class SourceStatus(Observation, kw_only=True, tag_field="kind", tag="source"):
    """How a source fares. state: "ok", "failing" or "ended". lost: observations that it knows it lost.

    cause: what is wrong, by machine (`schemas.sources.CAUSES`); `detail` says it to people. While a source fails it
    is said again now and then. Source `agent`, "ended": the agent stops because somebody has asked it to.
    """

    source: str
    state: str
    detail: str = ""
    lost: int = 0
    cause: str = ""


class HealthIncident(Observation, kw_only=True, tag_field="kind", tag="health"):
    """A DCGM health watch found something, said when it begins and when it is over (health "pass").

    system: the watch (`pcie`, `nvlink`, `memory` ...; `all` for Xids). health: "pass", "warn" or "fail". code: DCGM's
    number of the incident; it, and never `message`, says what happened. gi, ci: of a MIG instance.
    """

    uuid: str = ""
    bdf: str = ""
    gi: int | None = None
    ci: int | None = None
    system: str
    health: str
    code: int
    message: str = ""


class PolicyViolation(Observation, kw_only=True, tag_field="kind", tag="violation"):
    """A DCGM policy was violated. condition: `dbe`, `pcie`, `retired-pages`, `thermal`, `power`, `nvlink` or `xid`.

    value: what DCGM tells with it, by DCGM's own names (`errnum`, `numerrors`, `counter` ...).
    """

    uuid: str = ""
    bdf: str = ""
    condition: str
    value: dict[str, int] = {}


class LinkStatus(Observation, kw_only=True, tag_field="kind", tag="links"):
    """The NVLinks of a GPU, on change. links: "up", "down", "disabled" or "unsupported", by link number.

    model: of the GPU, from sources that tell no inventory.
    """

    uuid: str = ""
    bdf: str = ""
    model: str = ""
    links: list[str]


class DiagnosticTest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One test of a diagnostic. result: "pass", "warn", "fail" or "skip". codes: the tool's numbers of its findings."""

    name: str
    result: str
    codes: list[int] = []
    text: str = ""


class Diagnostic(Observation, kw_only=True, tag_field="kind", tag="diagnostic"):
    """A diagnostic of one GPU has run, from `started` (ms) to `ts`. tool: as it is called ("dcgmi diag").

    result: "pass", "warn", "fail", or "incomplete" where a test that `level` promises did not run: that proves nothing.
    """

    uuid: str = ""
    bdf: str = ""
    tool: str
    level: int = 0
    result: str
    started: int = 0
    tests: list[DiagnosticTest] = []


class Bandwidth(Observation, kw_only=True, tag_field="kind", tag="bandwidth"):
    """What a tool measured from a GPU to another one (`peer`, a UUID), in GB/s, one direction.

    Where a tool names GPUs by their PCI address, `uuid` and `peer` may be empty: bdf, peer_bdf. peer_node: where the
    peer is, "" = on the same node.
    """

    uuid: str
    peer: str
    gb_per_s: float
    tool: str = ""
    bdf: str = ""
    peer_bdf: str = ""
    peer_node: str = ""
