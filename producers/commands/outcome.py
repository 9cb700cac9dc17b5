"""What became of something that was tried, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from schemas.records import Diagnostic

OUTPUT_MAX = 4000  # characters of a result; the end says most
DONE, FAILED, REFUSED = "done", "failed", "refused"

Begin = Callable[[], Awaitable[object]]  # called right before something is done: from there on nothing is refused

# nvidia-smi's, from its manual page (RETURN VALUE).
NVIDIA_SMI = {
    2: "it does not take an argument that it was given",
    3: "this GPU does not support it",
    4: "this user may not do it: the agent must be root",
    6: "it does not find this GPU",
    8: "a power cable of the GPU is not attached",
    9: "the driver is not loaded",
    10: "the kernel has an interrupt problem with a GPU",
    12: "the driver's library (libnvidia-ml) is not found",
    13: "the driver's library is of another version, and lacks a function",
    14: "the GPU's infoROM is corrupt",
    15: "the GPU has fallen off the bus: reboot the node",
    255: "nvidia-smi says no more than that it failed",
}

# dcgmi's are DCGM's errors, of which the exit status keeps the last 8 bits.
DCGMI = {
    0: "it says that all is well",
    1: "it does not take an argument that it was given",
    204: "the package with the diagnostic (datacenter-gpu-manager with nvvs) is not installed",
    205: "the tests ended, and GPUs are to be isolated",
    217: "a diagnostic runs already",
    226: "a test failed",
    235: "no host engine answers: start it (systemctl start nvidia-dcgm)",
    254: "it does not take that level",
}


class Outcome(NamedTuple):
    """state: DONE; FAILED; REFUSED: nothing was touched, `reason` says why in one word. said: what there is to say of
    the GPU beside that.
    """

    state: str
    detail: str
    reason: str = ""
    status: int | None = None
    output: str = ""
    said: Diagnostic | None = None


def in_words(table: dict[int, str], status: int) -> str:
    return f"exit status {status}: {table.get(status, 'a status that is not documented')}"


def refused(reason: str, detail: str) -> Outcome:
    return Outcome(REFUSED, detail, reason)


def tail(output: str) -> str:
    return output.strip()[-OUTPUT_MAX:]
