"""How urgent a ticket is, and which part to bring: two small tables, each row with its reason.

Facts: NVIDIA's Xid catalogue (48, 64, 79, 92, 119, 140) and its GPU debug guidelines, which ask for reseating and
cables before a replacement where a bus or a link is at fault.
"""

from __future__ import annotations

from schemas.states import Action, Family, PredictionAction
from sinks.tickets.ticket import Suggestion

NOW, SOON, NORMAL, LATER = 1, 2, 3, 4
REPLACE = "replace"  # what the workflow asks for once resets and diagnostics have not helped

# action: how urgent it is, and why.
PRIORITY: dict[str, tuple[int, str]] = {
    Action.REMOVE_NODE: (NOW, "a whole node is out"),
    REPLACE: (SOON, "all that can be done from afar was done"),
    Action.EVICT_PERMANENTLY: (SOON, "it does not come back without a part"),
    Action.EVICT: (NORMAL, "one GPU is out, its work goes elsewhere"),
    Action.DRAIN: (NORMAL, "the same, more gently"),
    PredictionAction.EVICT_NOW: (SOON, "failure is foreseen within hours"),
    PredictionAction.SCHEDULE_MAINTENANCE: (NORMAL, "there is time to plan"),
    PredictionAction.ORDER_REPLACEMENT: (LATER, "the part has to come first"),
}
# family: raised by one step, and why.
RAISED: dict[str, str] = {
    Family.POWER: "what feeds one node feeds its neighbours",
    Family.THERMAL: "what cools one node cools its neighbours",
}

_GPU = "GPU"
# root: the part, and why it is that one. Looked up before the family.
BY_ROOT: dict[str, tuple[str, str]] = {
    "xid_79": ("riser or slot, then the GPU", "it fell off the bus: reseat it before you replace it"),
    "pcie_replay": ("riser or slot", "a PCIe link that keeps retransmitting wants reseating"),
    "pcie_link": ("riser or slot", "a PCIe link narrower or slower than it can be wants reseating"),
    "xid_64": (_GPU, "its memory has no spare rows left to repair itself with"),
    "remap_banks": (_GPU, "a bank of its memory has no spare rows left"),
    "memory_replacement": (_GPU, "its memory is past repair"),
    "power_brake": ("power supply, or the rack's feed", "the power brake is pulled from outside the GPU"),
    "xid_54": ("power cable of the GPU", "auxiliary power is not connected"),
}
BY_FAMILY: dict[str, tuple[str, str]] = {
    Family.MEMORY: (_GPU, "its memory is part of the module"),
    Family.BUS: ("riser or slot, then the GPU", "the bus is lost as a whole: reseat before you replace"),
    Family.NVLINK: ("NVLink cable or switch port, then the GPU", "both ends of a link report it: test link by link"),
    Family.POWER: ("power supply, or the rack's feed", "the GPU only says what it is given"),
    Family.THERMAL: ("fan, cold plate or coolant flow; look at the rack", "a GPU heats up when it is not cooled"),
    Family.GSP: ("no part yet; the GPU if it returns", "the GPU's system processor hangs by firmware as often"),
    Family.DRIVER: ("no part yet", "driver or firmware: look at versions first"),
    Family.PRESENCE: ("no part yet", "nothing is heard: look at power and network of the node first"),
    Family.APPLICATION: ("no part", "mostly a program's own fault"),
}
FABRIC = Suggestion(part="NVLink switch, its port or cable", why="an NVSwitch says so itself")
UNKNOWN = Suggestion(part="not known", why="read the evidence")


def priority(action: str, family: str, corruption: bool = False) -> int:
    """1 (now) to 4. An action that nobody has told us of is urgent."""
    level = PRIORITY.get(action, (SOON, ""))[0]
    if family in RAISED:
        level -= 1
    if corruption:
        level = min(level, SOON)
    return max(level, NOW)


def suggestion(root: str, family: str) -> Suggestion:
    found = BY_ROOT.get(root)
    if found is None and root.startswith("sxid_"):
        return FABRIC
    found = found or BY_FAMILY.get(family)
    return Suggestion(part=found[0], why=found[1]) if found else UNKNOWN
