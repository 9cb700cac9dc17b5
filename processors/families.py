"""Which faults belong together: their families, who follows whom, and which of several is the cause.

Every rule stands in a table, with its reason. `what` names a kind of fault in all of them: `xid_48`, `sxid_20034`,
or a signal's name. Sources of the facts: NVIDIA's Xid catalogue; Delta (SC'25) for what follows what.
"""

from __future__ import annotations

from schemas.fault_terms import FaultClass
from schemas.states import Family
from schemas.xid import lookup

_BY_CLASS = {
    FaultClass.APPLICATION: Family.APPLICATION,
    FaultClass.DRIVER: Family.DRIVER,
    FaultClass.FIRMWARE: Family.DRIVER,
    FaultClass.VIDEO: Family.DRIVER,
    FaultClass.DISPLAY: Family.DRIVER,
    FaultClass.SECURITY: Family.DRIVER,
    FaultClass.GSP: Family.GSP,
    FaultClass.MEMORY: Family.MEMORY,
    FaultClass.BUS: Family.BUS,
    FaultClass.C2C: Family.BUS,  # the link to the CPU: as the bus, it is lost as a whole
    FaultClass.NVLINK: Family.NVLINK,
    FaultClass.THERMAL: Family.THERMAL,
    FaultClass.POWER: Family.POWER,
    FaultClass.INFO: Family.OTHER,
    FaultClass.UNUSED: Family.OTHER,
    FaultClass.OTHER: Family.OTHER,
}
_BY_CODE = {137: Family.NVLINK}  # a fault that came in over NVLink, whatever the unit that reports it

# Who is one with whom: why faults of one family are.
ABOUT = {
    Family.MEMORY: "an error with its repair (48 with 63, 64, 92, 94, 95, 171, 172), and what counters say of it",
    Family.BUS: "a GPU, or its link to the CPU, that is lost; replays before that",
    Family.GSP: "the GPU's system processor no longer answers, and nothing else can be asked",
    Family.NVLINK: "both ends of a link report it, and all GPUs behind a switch: one incident of the node",
    Family.APPLICATION: "a program's exceptions follow from each other; of one job, on all its GPUs",
    Family.DRIVER: "what the driver or the GPU's controllers report of themselves",
    Family.THERMAL: "heat and what the GPU does about it",
    Family.POWER: "power and what the GPU does about it",
    Family.PRESENCE: "GPUs of a node that fall silent together do so with their node",
    Family.OTHER: "what nobody has put elsewhere",
}

_UNREACHABLE = frozenset({Family.BUS, Family.GSP, Family.DRIVER})

# What comes of other faults: (of which families, why). Alone it is an incident of its own family.
FOLLOWS: dict[str, tuple[frozenset[Family], str]] = {
    "xid_45": (
        frozenset(Family),
        "the driver takes channels down after any fault, and only at times says after which",
    ),
    "xid_154": (frozenset(Family), "tells what another fault makes necessary"),
    "xid_rate": (frozenset(Family), "counts what is evidence already"),
    "recovery_action": (frozenset(Family), "the same, as a field"),
    "presence": (_UNREACHABLE, "a GPU that cannot be reached vanishes from the telemetry of its node"),
    "gone": (_UNREACHABLE, "the same, and from the list of its GPUs"),
    "blanks": (_UNREACHABLE, "after Xids 79, 119 and 120 every field is blank, with fresh timestamps"),
    "telemetry_source": (_UNREACHABLE, "a driver that waits for such a GPU no longer answers"),
}

# Of these a program dies, by whatever exception: what applications print with them is no fault of theirs.
FATAL_TO_PROGRAMS = frozenset(
    {"xid_48", "xid_79", "xid_94", "xid_95", "xid_119", "xid_120", "xid_140", "uncorrectable_ecc"}
)

# Which of several is the cause: the highest. First what follows, then the families, the lost bus last, as all others
# can come of it; within a family the kinds that say most.
FAMILY_RANK = {
    Family.OTHER: 5,
    Family.APPLICATION: 10,
    Family.PRESENCE: 15,
    Family.DRIVER: 20,
    Family.POWER: 30,
    Family.THERMAL: 35,
    Family.NVLINK: 40,
    Family.MEMORY: 50,
    Family.GSP: 60,
    Family.BUS: 70,
}
RANK = {
    "xid_45": 1,
    "xid_154": 1,
    "xid_rate": 1,
    "recovery_action": 1,
    "telemetry_source": 4,  # why nothing is heard
    "gone": 4,
    "presence": 3,
    "blanks": 2,
    "xid_74": 44,  # often secondary to a failed peer or switch, never to counters
    "xid_92": 50,
    "xid_63": 51,  # what repairs the damage
    "row_remap": 52,
    "xid_171": 53,  # details beside a 48
    "xid_172": 53,
    "xid_140": 54,
    "xid_94": 55,
    "xid_64": 56,  # the repair failed
    "xid_95": 57,
    "uncorrectable_ecc": 58,  # what the counter says of a 48
    "xid_48": 59,
    "xid_79": 79,
}
FATAL_SWITCH_RANK = 48  # an NVSwitch that fails takes all its links along


def family_of_xid(code: int) -> Family:
    """The family of an Xid's incidents; `OTHER` where nobody has said."""
    info = lookup(code)
    if info.application and info.category is FaultClass.VIDEO:  # a program's use of the video units
        return Family.APPLICATION
    return _BY_CODE.get(code) or _BY_CLASS[info.category]


def follows(what: str, family: Family, other: str, other_family: Family) -> bool:
    """Whether a fault may be the consequence of another one on the same GPU."""
    found = FOLLOWS.get(what)
    if found:
        return other_family in found[0]
    return family is Family.APPLICATION and other in FATAL_TO_PROGRAMS


def rank(what: str, family: Family, *, fatal: bool = False) -> int:
    """How likely it is the cause of what came with it; the higher, the likelier."""
    if fatal and what.startswith("sxid_"):
        return FATAL_SWITCH_RANK
    return RANK.get(what, FAMILY_RANK[family])


assert _BY_CLASS.keys() == set(FaultClass), "every class has a family"
assert FAMILY_RANK.keys() == ABOUT.keys() == set(Family), "every family has a rank, and a word about it"
