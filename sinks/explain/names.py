"""Which GPU a person means: by its UUID, by how that begins, by its node and PCI address."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

SHOWN = 4


class Known(NamedTuple):
    """A GPU that records speak of. key: of its records."""

    key: str
    node: str
    uuid: str
    bdf: str

    @property
    def place(self) -> str:
        return f"{self.node}/{self.bdf}"


class UnknownGpu(Exception):
    """No GPU, or more than one, is meant by a name. text: says so. help: what there is."""

    def __init__(self, text: str, help: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.help = help


def find(name: str, gpus: Mapping[str, Known]) -> Known:
    """The GPU that is meant. gpus: by key. Raises UnknownGpu, which names what is similar."""
    wanted = name.strip()
    if wanted in gpus:
        return gpus[wanted]
    lowered = wanted.lower()
    named = [gpu for gpu in gpus.values() if lowered and lowered in (gpu.uuid.lower(), gpu.place.lower())]
    if not named:
        named = [gpu for gpu in gpus.values() if lowered and _begins(gpu, lowered)]
    if len(named) == 1:
        return named[0]
    if named:
        known = [gpu for gpu in named if gpu.uuid]
        if len(known) == 1:  # the other is what was said of the same place before the UUID was known
            return known[0]
        listed = ", ".join(_shown(gpu) for gpu in named[:SHOWN])
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        raise UnknownGpu(f"{name} may be any of {len(named)} GPUs", f"{listed}{more}")
    raise UnknownGpu(f"no such GPU: {name}", _similar(lowered, gpus))


def _begins(gpu: Known, name: str) -> bool:
    uuid = gpu.uuid.lower()
    return bool(uuid) and (uuid.startswith(name) or uuid.removeprefix("gpu-").startswith(name))


def _similar(name: str, gpus: Mapping[str, Known]) -> str:
    if not gpus:
        return "no GPU is known there yet"
    of_node = [gpu for gpu in gpus.values() if gpu.node.lower() == name.partition("/")[0]]
    if of_node:
        listed = ", ".join(_shown(gpu) for gpu in of_node[:SHOWN])
        return f"on {of_node[0].node} there are {listed}{', ...' if len(of_node) > SHOWN else ''}"
    spelled = {spelling.lower(): gpu for gpu in gpus.values() for spelling in (gpu.uuid, gpu.place) if spelling}
    close = difflib.get_close_matches(name, spelled, n=1, cutoff=0.6)
    if close:
        return f"a GPU with a similar name exists: {_shown(spelled[close[0]])}"
    return f"GPU is a UUID, how one begins, or NODE/BDF, as in {_shown(next(iter(gpus.values())))}"


def _shown(gpu: Known) -> str:
    return f"{gpu.uuid} ({gpu.place})" if gpu.uuid else gpu.place
