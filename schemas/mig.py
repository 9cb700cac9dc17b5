"""Which faults of a MIG instance stay inside it. All others concern the whole GPU, even where they name an instance.

An instance has its own engines, and its own share of memory and cache; the instances of a GPU share the chip, its
memory's rows and their remapping, the bus, NVLink, power, and the firmware that schedules them. So what ends an
application stays inside, and so does an error that the GPU says it has contained, unless the message asks for a
reset: there is none of a single instance. A double-bit error (48), one that was not contained (95), remapping (63,
64), the bus (79), NVLink (74, 144 to 150), the firmware (119, 120), and any code that nobody has described, condemn
the GPU: too much rather than too little.
"""

from __future__ import annotations

from schemas import xid_message

# Classes of the Xid catalogue.
INSIDE_CLASSES = {
    "application": "the application's own error, in channels of its own instance",
    "video": "the instance's own video engine",
}
# Codes of other classes.
INSIDE_CODES = {
    45: "the driver ends the application's channels, which belong to one instance",
    94: "the error was contained: only the application that met it is ended",
    109: "a context of the instance's own engine was not switched in time",
}
# Watches of DCGM's health check.
INSIDE_SYSTEMS = {"sm": "the multiprocessors belong to one instance"}

GPU_INSTANCES_MAX, COMPUTE_INSTANCES_MAX = 15, 8  # their numbers are below


def xid_stays_inside(code: int, category: str, message: str) -> bool:
    """category: the code's class in the catalogue."""
    inside = code in INSIDE_CODES or category in INSIDE_CLASSES
    return inside and xid_message.read(code, message).response is None


def place(gi: int | None, ci: int | None) -> tuple[int, int] | None:
    """(GPU instance, compute instance; -1 = all of them), or None for what no instance can be."""
    if gi is None or not 0 <= gi < GPU_INSTANCES_MAX:
        return None
    return gi, ci if ci is not None and 0 <= ci < COMPUTE_INSTANCES_MAX else -1
