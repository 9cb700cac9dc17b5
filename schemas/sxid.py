"""What each NVSwitch fault (SXid) means and what we do about it: the catalogue in `sxid_catalog.toml`, typed.

It concerns the fabric of a node, NVSwitch of Hopper and older; which GPUs it hits depends on the links behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Literal

import msgspec

from schemas.fault_terms import NvidiaAction, Severity, XidResponse
from schemas.xid import Source

__all__ = ["CATALOG", "SOURCES", "Fatality", "SxidInfo", "lookup"]


class Fatality(StrEnum):
    """As NVIDIA documents it. non_fatal: no GPU is hit by it, or only its partition. fatal: to one link.
    always_fatal: to the fabric of the node. as_printed: not published, so the line's own word holds."""

    NON_FATAL = "non_fatal"
    FATAL = "fatal"
    ALWAYS_FATAL = "always_fatal"
    AS_PRINTED = "as_printed"


class SxidInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One code.

    name: the driver's, less its prefix. scope: whether it strikes one link or the whole switch. action: NVIDIA's.
    response: ours, for the GPU behind the link, or for the node where that is not known. why: of `response`.
    source: of all the rest, a key of SOURCES.
    """

    code: int
    name: str
    meaning: str
    scope: Literal["link", "switch"]
    fatality: Fatality = Fatality.AS_PRINTED
    action: NvidiaAction = NvidiaAction.NONE
    severity: Severity = Severity.UNKNOWN
    response: XidResponse = XidResponse.MONITOR
    why: str = "NVIDIA has not published how bad it is: the line's own Fatal or Non-fatal decides"
    source: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: dict[str, Source]
    sxid: list[SxidInfo]


CATALOG: Mapping[int, SxidInfo]  # code -> what we know; read at its first use
SOURCES: Mapping[str, Source]  # key -> document; likewise


def lookup(code: int, printed: str = "") -> SxidInfo:
    """What a code means when a line calls it `printed`: fatal, non-fatal, correctable, or empty for nothing.

    The line's word is stronger than the document's: a switch may report as fatal what is listed as harmless,
    and the other way round. Never fails: of an unknown code only the line's word is known.
    """
    known = _catalog()[0].get(code) or SxidInfo(
        code=code, name="", meaning="NVSwitch fault, not in the catalogue", scope="switch", source="none"
    )
    if printed == "fatal" and known.response.gravity < XidResponse.EVICT.gravity:
        return _judged(known, Severity.FATAL, XidResponse.EVICT, "fatal")
    if printed == "fatal" and known.severity is not Severity.FATAL:
        return _judged(known, Severity.FATAL, known.response, "fatal")
    if printed and printed != "fatal" and known.fatality is not Fatality.NON_FATAL:
        return _judged(known, Severity.LOW, XidResponse.MONITOR, printed)
    return known


def _judged(known: SxidInfo, severity: Severity, response: XidResponse, printed: str) -> SxidInfo:
    why = f"the switch itself calls it {printed}; {known.why}"
    if known.fatality is Fatality.AS_PRINTED:
        why = f"the switch itself calls it {printed}; NVIDIA has not published more"
    return msgspec.structs.replace(known, severity=severity, response=response, why=why)


@cache
def _catalog() -> tuple[Mapping[int, SxidInfo], Mapping[str, Source]]:
    from importlib.resources import files  # dear to import, and few processes see a switch fault

    text = files("schemas").joinpath("sxid_catalog.toml").read_text("utf-8")
    document = msgspec.toml.decode(text, type=_Document)
    catalog = {info.code: info for info in document.sxid}
    assert len(catalog) == len(document.sxid), "sxid_catalog.toml: a code stands twice"
    return MappingProxyType(catalog), MappingProxyType(document.sources)


def __getattr__(name: str) -> Mapping[int, SxidInfo] | Mapping[str, Source]:
    if name == "CATALOG":
        return _catalog()[0]
    if name == "SOURCES":
        return _catalog()[1]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
