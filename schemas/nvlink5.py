"""What an Xid 144 to 150 (NVLink 5) says in its message: which sub-component failed, and what NVIDIA advises.

    <sub-component> <Fatal|Nonfatal> XC<n> i<n> Link <nn> (<IntrInfo> <error status> <debug data> ...)

IntrInfo names the sub-component in two layouts, the older before driver R575. Who does not know the driver reads
it in both; which one fits is a finding, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import msgspec

from schemas.fault_terms import NvidiaAction

CODES = range(144, 151)
NEW_LAYOUT = 575  # the driver branch from which on the new layout holds


class Reading(NamedTuple):
    """The numbers of one message in one layout.

    component: the name that goes with the bits. action: NONE where no rule knows the error status or reason.
    """

    component: str
    layout: str
    action: NvidiaAction
    investigate: NvidiaAction


class Nvlink5Fault(NamedTuple):
    """component: as printed. crosses: whether the fault crosses containment (XC). link: -1 = none named.
    intr_info, status: None where the message ends before. readings: of every layout that fits."""

    component: str
    fatal: bool
    crosses: bool
    injected: bool
    link: int
    intr_info: int | None
    status: int | None
    readings: tuple[Reading, ...]


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: NvidiaAction
    investigate: NvidiaAction
    status: frozenset[int] = frozenset()
    reasons: frozenset[int] = frozenset({0})
    promoted: bool | None = None

    def applies(self, status: int | None, reason: int, promoted: bool) -> bool:
        known = not self.status or status in self.status
        return known and reason in self.reasons and self.promoted in (None, promoted)


class _Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    xid: int
    names: list[str]
    before_r575: int
    from_r575: int
    rules: list[_Rule]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: list[_Unit]


_MESSAGE = re.compile(
    r"(?P<component>[A-Z][A-Za-z0-9_]{1,40}(?: [A-Z][a-z]{1,20})?)\s+(?P<severity>Fatal|Nonfatal)\s+"
    r"XC ?(?P<crosses>[0-9]{1,3})\s+i ?(?P<injected>[0-9]{1,3})\s+Link (?P<link>-?[0-9]{1,4})(?![0-9])"
    r"(?:\s*[(\[]0x(?P<intr_info>[0-9A-Fa-f]{1,8})(?![0-9A-Fa-f])(?:\s+0x(?P<status>[0-9A-Fa-f]{1,8})(?![0-9A-Fa-f]))?)?"
)


def decode(code: int, message: str, driver: str = "") -> Nvlink5Fault | None:
    """What the message says; None if it is not one of these, or is garbled.

    driver: its version, as 575.57.08; empty or unreadable: both layouts are tried.
    """
    match = _MESSAGE.match(message) if code in CODES else None
    if match is None:
        return None
    intr_info = None if match["intr_info"] is None else int(match["intr_info"], 16)
    status = None if match["status"] is None else int(match["status"], 16)
    branch = driver_branch(driver)
    return Nvlink5Fault(
        component=match["component"],
        fatal=match["severity"] == "Fatal",
        crosses=int(match["crosses"]) > 0,
        injected=int(match["injected"]) > 0,
        link=int(match["link"]),
        intr_info=intr_info,
        status=status,
        readings=() if intr_info is None else tuple(dict.fromkeys(_readings(code, intr_info, status, branch))),
    )


def driver_branch(driver: str) -> int | None:
    """575 of `575.57.08` and of `R575`."""
    match = re.match(r"R?([0-9]{3,4})(?![0-9])", driver)
    return int(match[1]) if match else None


def _readings(code: int, intr_info: int, status: int | None, branch: int | None) -> Iterator[Reading]:
    reason = intr_info >> 20 & 0x3F
    for unit in _units():
        if unit.xid != code:
            continue
        if (branch is None or branch < NEW_LAYOUT) and intr_info & 0x3FF == unit.before_r575:
            yield _reading(unit, unit.names[0], "before R575", status, reason, bool(intr_info >> 10 & 1))
        if (branch is None or branch >= NEW_LAYOUT) and intr_info & 0x7F == unit.from_r575:
            yield _reading(unit, unit.names[-1], "from R575", status, reason, bool(intr_info >> 7 & 1))


def _reading(unit: _Unit, name: str, layout: str, status: int | None, reason: int, promoted: bool) -> Reading:
    for rule in unit.rules:
        if rule.applies(status, reason, promoted):
            return Reading(name, layout, rule.action, rule.investigate)
    return Reading(name, layout, NvidiaAction.NONE, NvidiaAction.NONE)


@cache
def _units() -> list[_Unit]:
    from importlib.resources import files  # dear to import, and few processes see one of these

    text = files("schemas").joinpath("nvlink5_catalog.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=_Document).unit
