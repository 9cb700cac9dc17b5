"""What each Xid means and what we do about it: the catalogue in `xid_catalog.toml`, typed.

The data is the truth; this module only reads it. A code that it does not name is no error: it is kept, shown,
and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType

import msgspec


class Severity(StrEnum):
    """How bad a fault is, mildest first; `UNKNOWN` = nobody has told us."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    FATAL = "fatal"
    UNKNOWN = "unknown"


class XidResponse(StrEnum):
    """What the pipeline does when it sees the code.

    monitor: counts it. lower_score: caps the score for a time. degrade: the same, and marks the GPU degraded.
    evict, evict_permanently: takes the GPU out, to be repaired or replaced. remove_node: takes the node out.
    follow_message: the message names the action (see `respond`).
    """

    MONITOR = "monitor"
    LOWER_SCORE = "lower_score"
    DEGRADE = "degrade"
    EVICT = "evict"
    EVICT_PERMANENTLY = "evict_permanently"
    REMOVE_NODE = "remove_node"
    FOLLOW_MESSAGE = "follow_message"


class XidInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One code.

    recovery: what makes the GPU whole again. response: ours. spec_response: the one that the product
    specification asks for, None where it is silent. hard: the weight goes to 0 whatever budgets say.
    corruption: outputs may be wrong without a crash. counts_as_warning: one of the codes of which more than
    10 within 60 minutes evict. latches: holds until a diagnostic has passed or an operator clears it.
    why: of `response`. source: of meaning and recovery.
    """

    code: int
    meaning: str
    severity: Severity
    category: str
    recovery: str
    response: XidResponse
    spec_response: XidResponse | None = None
    hard: bool = False
    corruption: bool = False
    counts_as_warning: bool = False
    latches: bool = False
    why: str
    source: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    xid: list[XidInfo]


CATALOG: Mapping[int, XidInfo]  # code -> what we know; read at its first use


def lookup(code: int) -> XidInfo:
    """What we know of a code. Never fails: an unknown one has severity unknown and response monitor."""
    return _catalog().get(code) or XidInfo(
        code=code,
        meaning="not in the catalogue",
        severity=Severity.UNKNOWN,
        category="other",
        recovery="unknown",
        response=XidResponse.MONITOR,
        why="a code that nobody has described is kept, visible and counted, and takes no GPU out by itself",
        source="none",
    )


def respond(code: int, message: str = "", recovery_action: int | None = None) -> XidResponse:
    """What to do about one Xid: the catalogue's response, or a stronger one that its message asks for.

    recovery_action: of Xid 154, the new action. One that we cannot read is still an action.
    """
    info = lookup(code)
    if info.response is XidResponse.FOLLOW_MESSAGE:
        return _RECOVERY_ACTIONS.get(recovery_action, XidResponse.DEGRADE)
    if code in _NVLINK5_CODES and "Fatal" in message.split()[:2]:  # "<unit> Fatal ...", else Nonfatal
        return XidResponse.EVICT
    return info.response


def of_switch(severity: str) -> XidInfo:
    """What an NVSwitch fault (SXid) of the printed severity means: a finding about the node's fabric, not a GPU."""
    fatal = severity == "fatal"
    return XidInfo(
        code=0,
        meaning="NVSwitch fault",
        severity=Severity.FATAL if fatal else Severity.LOW if severity else Severity.UNKNOWN,
        category="nvlink",
        recovery="reset the GPUs and switches of the node" if fatal else "automatic",
        response=XidResponse.MONITOR,
        why="recorded and visible; which GPUs it concerns depends on the links behind the switch",
        source="NVSwitch error containment, Fabric Manager documentation",
    )


# The recovery actions of Xid 154 and of DCGM field 1523.
_RECOVERY_ACTIONS: dict[int | None, XidResponse] = {
    0: XidResponse.MONITOR,  # none
    1: XidResponse.EVICT,  # GPU reset required
    2: XidResponse.REMOVE_NODE,  # node reboot required
    3: XidResponse.EVICT,  # drain P2P: every process with peer traffic has to go
    4: XidResponse.EVICT,  # drain and reset
    5: XidResponse.DEGRADE,  # recover IMEX domain: work of the fabric's services, not of this GPU
}
_NVLINK5_CODES = range(144, 151)


@cache
def _catalog() -> Mapping[int, XidInfo]:
    from importlib.resources import files  # the dearest import of this module, and few processes get here

    text = files("schemas").joinpath("xid_catalog.toml").read_text("utf-8")
    infos = msgspec.toml.decode(text, type=_Document).xid
    catalog = {info.code: info for info in infos}
    assert len(catalog) == len(infos), "xid_catalog.toml: a code stands twice"
    return MappingProxyType(catalog)


def __getattr__(name: str) -> Mapping[int, XidInfo]:
    if name == "CATALOG":
        return _catalog()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
