"""What the message of an Xid says beyond its number: the response that it asks for, and facts to show.

A message that no rule can read asks for nothing, and the catalogue's response stands: text that changes with a
driver never makes a fault milder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from schemas import nvlink5, nvlink_registers
from schemas.fault_terms import NvidiaAction, XidResponse
from schemas.nvlink_registers import Advice

Details = dict[str, str | int]


class Reading(NamedTuple):
    """response: None = the message asks for nothing of its own. details: what it says, by name, for people."""

    response: XidResponse | None
    details: Details


NOTHING = Reading(None, {})
RECOVERY_ACTION_CHANGED = 154


def read(code: int, message: str, driver: str = "") -> Reading:
    """Never raises. driver: its version, where known; only 144 to 150 depend on it."""
    rule = _RULES.get(code)
    return NOTHING if rule is None else rule(code, message, driver)


def gravest(responses: Iterable[XidResponse]) -> XidResponse | None:
    return max(responses, key=lambda response: response.gravity, default=None)


# --- 154: the driver's recovery action, which is also that of DCGM field 1523 -----------------------------

RECOVERY_ACTIONS = {
    0: XidResponse.MONITOR,
    1: XidResponse.EVICT,
    2: XidResponse.REMOVE_NODE,
    3: XidResponse.EVICT,  # every process with peer traffic has to go
    4: XidResponse.EVICT,
    5: XidResponse.DEGRADE,  # work of the fabric's services, not of this GPU
    6: XidResponse.EVICT,  # a reset of the bus
    7: XidResponse.REMOVE_NODE,  # a reboot of the system
}
_LABELS = {
    "none": 0,
    "gpu reset required": 1,
    "node reboot required": 2,
    "drain p2p": 3,
    "drain and reset": 4,
    "recover imex domain": 5,
}
_CHANGE = re.compile(
    r"changed from 0x[0-9A-Fa-f]{1,8} \((?P<before>[^)]{0,99})\) "
    r"to 0x(?P<number>[0-9A-Fa-f]{1,8})(?: \((?P<label>[^)]{0,99})\))?"
)


def _recovery_action(code: int, message: str, driver: str) -> Reading:
    """By number and by words; where they disagree, by the graver."""
    match = _CHANGE.search(message)
    if match is None:
        return NOTHING
    number, label = int(match["number"], 16), (match["label"] or "").strip()
    named = [RECOVERY_ACTIONS[each] for each in (number, _LABELS.get(label.lower())) if each in RECOVERY_ACTIONS]
    details: Details = {"action": label or number, "action_before": match["before"]}
    return Reading(gravest(named), details)


# --- 94, 95: contained and uncontained memory errors ------------------------------------------------------

_CONTAINMENT = re.compile(r"(?:Contained|Uncontained): (?P<unit>[A-Za-z0-9 _/-]{1,80}?)(?= ?\(|\.|,? RST:|$)")
_RESET = re.compile(r"\bRST: (?P<reset>Yes|No), D-RST: (?P<drain>Yes|No)\b")
_ADDRESS = re.compile(r"physAddr:? (?P<address>0x[0-9A-Fa-f_]{1,20})")


def _contained(code: int, message: str, driver: str) -> Reading:
    """The driver's own verdict: a reset at once (RST), or after the work on the GPU has ended (D-RST)."""
    details: Details = {}
    if match := _CONTAINMENT.match(message):
        details["unit"] = match["unit"].strip()
    if match := _ADDRESS.search(message):
        details["address"] = match["address"]
    verdict = _RESET.search(message)
    if verdict is None:
        return Reading(None, details)
    details |= {"reset_required": verdict["reset"].lower(), "drain_and_reset": verdict["drain"].lower()}
    asked = "Yes" in (verdict["reset"], verdict["drain"])
    return Reading(XidResponse.EVICT if asked else None, details)


# --- 144 to 150: NVLink 5 ---------------------------------------------------------------------------------

_ANSWERS = {
    NvidiaAction.IGNORE: XidResponse.MONITOR,
    NvidiaAction.XID_154_EVAL: XidResponse.DEGRADE,  # the Xid 154 beside it says more
    NvidiaAction.RESET_GPU: XidResponse.EVICT,
    NvidiaAction.NONE: XidResponse.DEGRADE,  # a known sub-component, a status that no rule knows
}


_FATAL = re.compile(r"\S{1,60}(?: \S{1,60})?\s+Fatal\b")


def _nvlink5(code: int, message: str, driver: str) -> Reading:
    """The graver of what the driver prints (Fatal) and what NVIDIA's table says of the numbers, in every layout
    that fits them."""
    fault = nvlink5.decode(code, message, driver)
    if fault is None:  # garbled, but what calls itself fatal is
        return Reading(XidResponse.EVICT if _FATAL.match(message) else None, {})
    answers = [_ANSWERS[reading.action] for reading in fault.readings]
    if fault.fatal:
        answers.append(XidResponse.EVICT)
    details: Details = {"component": fault.component, "severity": "fatal" if fault.fatal else "nonfatal"}
    if fault.link >= 0:
        details["link"] = fault.link
    if fault.injected:
        details["injected"] = "yes"
    for reading in fault.readings[:1]:
        details |= {"decoded": reading.component, "layout": reading.layout}
        if reading.action:
            details |= {"action": reading.action, "investigate": reading.investigate}
    return Reading(gravest(answers), details)


# --- 74: NVLink up to 4 -----------------------------------------------------------------------------------


def _nvlink(code: int, message: str, driver: str) -> Reading:
    """Only ever graver than the catalogue: the message does not name the product, and bits differ by product."""
    found = nvlink_registers.decode(message)
    if found is None:
        return NOTHING
    details: Details = {"link": found.link}
    for bit in found.bits:
        details[f"register {bit.register} bit {bit.bit}"] = bit.advice
    reset = any(bit.advice is Advice.ECHO_RESET_FABRIC for bit in found.bits)
    return Reading(XidResponse.EVICT if reset else None, details)


# --- messages that only inform ----------------------------------------------------------------------------


def _facts(pattern: str) -> Callable[[int, str, str], Reading]:
    """A rule that shows the named groups of a pattern; digits as numbers."""
    compiled = re.compile(pattern)

    def rule(code: int, message: str, driver: str) -> Reading:
        match = compiled.search(message)
        if match is None:
            return NOTHING
        found = {name: text for name, text in match.groupdict().items() if text is not None}
        return Reading(None, {name: int(text) if _NUMBER.fullmatch(text) else text for name, text in found.items()})

    return rule


_NUMBER = re.compile(r"-?[0-9]{1,12}")
_RULES: dict[int, Callable[[int, str, str], Reading]] = {
    13: _facts(r"\(GPC (?P<gpc>[0-9]{1,3}), TPC (?P<tpc>[0-9]{1,3})(?:, SM (?P<sm>[0-9]{1,3}))?\)"),
    74: _nvlink,
    94: _contained,
    95: _contained,
    119: _facts(
        r"(?:Timeout after (?P<waited_s>[0-9]{1,6})s of waiting|Timeout waiting) for RPC.{0,60}?"
        r"Expected function (?P<function>[0-9]{1,6}) \((?P<function_name>\w{1,60})\)"
    ),
    120: _facts(r"@ pc:(?P<pc>0x[0-9A-Fa-f]{1,16})(?:, task: (?P<task>[0-9]{1,6}))?"),
    # Counts of uncorrectable errors. All 0 = only the poison interrupt was pending; some drivers print negatives.
    140: _facts(
        r"DRAM:(?P<dram>-?[0-9]{1,12}), LTC:(?P<ltc>-?[0-9]{1,12}), MMU:(?P<mmu>-?[0-9]{1,12}), "
        r"PCIE:(?P<pcie>-?[0-9]{1,12})"
    ),
    **dict.fromkeys(nvlink5.CODES, _nvlink5),
    RECOVERY_ACTION_CHANGED: _recovery_action,
    160: _facts(
        r"Marking (?P<part>[A-Za-z]{1,20} [0-9]{1,4} in [A-Z]{1,10} [0-9]{1,4}) .{0,80}?"
        r"Perform (?P<activated_by>.{1,40}?) to"
    ),
    175: _facts(r"memory subsystem timeout \(type (?P<type>[0-9]{1,10})\)"),
}
