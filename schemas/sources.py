"""The sources of telemetry, and what may be wrong with one: what a `SourceStatus` says by machine.

Both tuples only ever grow at their end: states and reasons name their members by number.
"""

from __future__ import annotations

# By the first word of a source's name. Kernel logs are none of them: that one cannot be read silences no GPU.
TELEMETRY = ("dcgm", "nvml", "exporter", "simulator", "recording")
CALL_THE_DRIVER = ("dcgm", "nvml")  # of others, no answer says nothing about the driver
AGENT = "agent"  # under this name the agent tells of itself

OTHER, ENGINE_DOWN, HUNG, DRIVER, PERMISSION, LOST, STOPPED, EXPORTER_DOWN = CAUSES = (
    "",
    "engine-down",
    "hung",
    "driver",
    "permission",
    "lost",
    "stopped",
    "exporter-down",
)

WORDS = {
    OTHER: "cannot be read",
    ENGINE_DOWN: "the host engine cannot be reached",
    HUNG: "calls get no answer",
    DRIVER: "the driver is not loaded, or shows no GPU",
    PERMISSION: "access is denied",
    LOST: "a GPU does not answer",
    STOPPED: "the host engine takes no samples: paused by a diagnostic, or the driver hangs",
    EXPORTER_DOWN: "the exporter cannot be reached",
}
assert WORDS.keys() == set(CAUSES), "a cause without words"

_PER_SOURCE = 100


def kind_of(name: str) -> str:
    """What kind of source has that name: `dcgm` of `dcgm://host:5555`."""
    return name.partition(":")[0]


def number_of(name: str, cause: str) -> int:
    """The cause at that source as one number; 0: no source of telemetry. A cause that is not known is some cause."""
    kind = kind_of(name)
    if kind not in TELEMETRY:
        return 0
    return _PER_SOURCE * (1 + TELEMETRY.index(kind)) + (CAUSES.index(cause) if cause in CAUSES else 0)


def named(number: int) -> tuple[str, str]:
    """(kind of source, cause) that `number_of` has numbered; of a number that it never gave, ("", "")."""
    source, cause = divmod(number, _PER_SOURCE)
    known = 0 < source <= len(TELEMETRY) and cause < len(CAUSES)
    return (TELEMETRY[source - 1], CAUSES[cause]) if known else ("", OTHER)


def numbers(cause: str, kinds: tuple[str, ...] = TELEMETRY) -> tuple[int, ...]:
    """All numbers of that cause at sources of `kinds`."""
    return tuple(number_of(kind, cause) for kind in kinds)
