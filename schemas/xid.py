"""What each Xid means and what we do about it: the catalogue in `xid_catalog.toml`, typed.

The data is the truth; this module only reads it. A code that it does not name is no error: it is kept, shown,
and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import msgspec

from schemas.fault_terms import FaultClass, NvidiaAction, Severity, XidResponse

__all__ = ["CATALOG", "SOURCES", "Severity", "Source", "XidInfo", "XidResponse", "lookup", "respond"]

Product = Literal["A100", "H100", "B100", "GB200"]


class XidInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One code.

    mnemonic: NVIDIA's name, empty where none is published. category: what failed. products: on which NVIDIA says
    it occurs; empty = on none of these four (a code of Volta and older), None = NVIDIA does not say.
    immediate_action: NVIDIA's, to get the machine back to work. investigatory_action: NVIDIA's, to find the cause.
    linked_154: since which driver branch an Xid 154 comes with it ("always": as long as the code exists).
    recovery: what makes the GPU whole again. response: ours. spec_response: the one that the product
    specification asks for, None where it is silent. application: mostly a program's own fault, so that a policy
    may demote it. hard: the weight goes to 0 whatever budgets say. corruption: outputs may be wrong without a
    crash. counts_as_warning: one of the codes of which more than 10 within 60 minutes evict. latches: holds until
    a diagnostic has passed or an operator clears it.
    why: of `response`. source: of all but response and why, a key of SOURCES.
    """

    code: int
    mnemonic: str
    meaning: str
    severity: Severity
    category: FaultClass
    products: tuple[Product, ...] | None = None
    immediate_action: NvidiaAction = NvidiaAction.NONE
    investigatory_action: NvidiaAction = NvidiaAction.NONE
    linked_154: str = ""
    recovery: str
    response: XidResponse
    spec_response: XidResponse | None = None
    application: bool = False
    hard: bool = False
    corruption: bool = False
    counts_as_warning: bool = False
    latches: bool = False
    why: str
    source: str


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public document; the specification has no address."""

    title: str
    url: str = ""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: dict[str, Source]
    xid: list[XidInfo]


CATALOG: Mapping[int, XidInfo]  # code -> what we know; read at its first use
SOURCES: Mapping[str, Source]  # key -> document; likewise


def lookup(code: int) -> XidInfo:
    """What we know of a code. Never fails: an unknown one has severity unknown and response monitor."""
    return _catalog()[0].get(code) or XidInfo(
        code=code,
        mnemonic="",
        meaning="not in the catalogue",
        severity=Severity.UNKNOWN,
        category=FaultClass.OTHER,
        recovery="unknown",
        response=XidResponse.MONITOR,
        why="a code that nobody has described is kept, visible and counted, and takes no GPU out by itself",
        source="none",
    )


def respond(code: int, message: str = "", recovery_action: int | None = None, driver: str = "") -> XidResponse:
    """What to do about one Xid: the catalogue's response, or the one that its message asks for.

    recovery_action: of Xid 154, the new action, where somebody has read it already. One that we cannot read is
    still an action. driver: the driver's version, where known.
    Guarantees: never raises; milder than the catalogue only where a rule knows the whole message, as a nonfatal
        NVLink 5 error that NVIDIA says to ignore.
    """
    from schemas import xid_message  # its patterns cost an import more than all else here

    info = lookup(code)
    asked = xid_message.read(code, message, driver).response
    if info.response is XidResponse.FOLLOW_MESSAGE:
        named = xid_message.RECOVERY_ACTIONS.get(recovery_action) if recovery_action is not None else asked
        return named or XidResponse.DEGRADE
    return asked or info.response


@cache
def _catalog() -> tuple[Mapping[int, XidInfo], Mapping[str, Source]]:
    from importlib.resources import files  # the dearest import of this module, and few processes get here

    text = files("schemas").joinpath("xid_catalog.toml").read_text("utf-8")
    document = msgspec.toml.decode(text, type=_Document)
    catalog = {info.code: info for info in document.xid}
    assert len(catalog) == len(document.xid), "xid_catalog.toml: a code stands twice"
    return MappingProxyType(catalog), MappingProxyType(document.sources)


def __getattr__(name: str) -> Mapping[int, XidInfo] | Mapping[str, Source]:
    if name == "CATALOG":
        return _catalog()[0]
    if name == "SOURCES":
        return _catalog()[1]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
