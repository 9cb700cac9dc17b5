"""What is wrong with what an engine says, in words that stay the same while it stays wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.fields import FIELDS
from schemas.records import Gpu
from schemas.sources import LOST
from schemas.sources import STOPPED as STANDS_STILL

STOPPED = (
    "the host engine answers, and takes no samples: it is paused by a diagnostic, or the driver hangs; what it shows is"
    " old, and is left out"
)
ALL_BLANK = (
    "every field of every GPU is blank, as after Xid 119, when the host engine calls the driver no more: reset the GPU"
    " that the kernel's log names, and restart nvidia-dcgm"
)


class Trouble(NamedTuple):
    """state: "failing" if nothing is known of any GPU. text: empty = all is well. cause: of `schemas.sources`."""

    state: str
    text: str
    cause: str = ""


def troubles(
    gpus: Sequence[Gpu],
    blank: Sequence[bool],
    *,
    stopped: bool,
    statuses: Mapping[int, str],
    gone: Sequence[Gpu],
    unknown: Sequence[int],
    impaired: Mapping[str, str],
) -> Trouble:
    """gpus, blank: each GPU, and whether all its fields are blank. statuses: by place in `gpus`, of those that the
    engine itself calls unwell. gone: GPUs that it lists no more. unknown: fields that it does not know. impaired: what
    else does not work, and why.
    """
    said = [f"{_name(gpus[at])} is {status}, says the host engine" for at, status in statuses.items()]
    others = [at for at in range(len(gpus)) if at not in statuses]
    if others and stopped:
        said.append(STOPPED)
    elif others and all(blank):
        said.append(ALL_BLANK)
    else:
        said += [f"{_name(gpus[at])}: every field is blank" for at in others if blank[at]]
    said += [f"{_name(gpu)} is not listed any more" for gpu in gone]
    if unknown:
        names = ", ".join(f"{field} ({FIELDS[field].name})" if field in FIELDS else str(field) for field in unknown)
        said.append(f"the host engine is too old to know the fields {names}")
    said += [f"no {what}: {why}" for what, why in impaired.items()]
    failing = stopped or all(blank)
    cause = "" if not failing else STANDS_STILL if stopped else LOST
    return Trouble("failing" if failing else "ok", "; ".join(said), cause)


def _name(gpu: Gpu) -> str:
    return f"{gpu.uuid} at {gpu.bdf}" if gpu.bdf else gpu.uuid
