"""What `nvidia-smi nvlink --status` prints: the NVLinks of each GPU, one a line.

    GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-...)
             Link 0: 26.562 GB/s
             Link 1: <inactive>

A link with a rate is up. One that is inactive may be down or disabled, which the tool does not tell apart. Of a GPU
whose links are all inactive, or that has none, it prints a sentence instead of links.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LINKS_MAX = 64
_UUID = r"\(UUID: (?P<uuid>GPU-[0-9A-Za-z-]{1,64})\)"
_GPU = re.compile(rf"GPU (?P<number>[0-9]{{1,4}}): (?P<model>.{{0,200}}?) ?{_UUID}(?P<rest>.*)")
_OTHER_GPU = re.compile(r"GPU [0-9]{1,4}: ")
_LINK = re.compile(r"\s*Link (?P<link>[0-9]{1,4}): (?P<state>.*?)\s*")
_RATE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})? GB/s")
_NONE_UP = re.compile(r"all links are inactive|does not have or support nvlink|nvlink is not supported", re.IGNORECASE)


class GpuStatus(NamedTuple):
    """links: "up", "down", "unsupported" (a number that is not printed) or "unknown", by number."""

    uuid: str
    links: list[str]
    model: str


class NvlinkStatus(NamedTuple):
    """notes: what could not be understood, in words."""

    gpus: list[GpuStatus]
    notes: list[str]


def parse(text: str) -> NvlinkStatus:
    """The GPUs in the order of the text. Never raises; a GPU of which nothing is said is left out, with a note."""
    found: list[GpuStatus] = []
    notes: list[str] = []
    uuid = model = ""
    links: dict[int, str] | None = None  # None: nothing said yet

    def end() -> None:
        if uuid and links is None:
            notes.append(f"nothing is said of the links of {uuid}")
        elif uuid and links is not None:
            last = max(links, default=-1)
            found.append(GpuStatus(uuid, [links.get(number, "unsupported") for number in range(last + 1)], model))

    for line in text.splitlines():
        if gpu := _GPU.search(line):
            end()
            uuid, model, links = gpu["uuid"], gpu["model"], {} if _NONE_UP.search(gpu["rest"]) else None
        elif _OTHER_GPU.match(line):
            end()
            uuid, links = "", None
            notes.append(f"a GPU without a UUID: {line.strip()[:100]!r}")
        elif link := _LINK.fullmatch(line):
            number = int(link["link"])
            if uuid and number < LINKS_MAX:
                links = links or {}
                links[number] = _state(link["state"])
        elif uuid and links is None and _NONE_UP.search(line):
            links = {}
    end()
    notes += [f"unknown states among the links of {gpu.uuid}" for gpu in found if "unknown" in gpu.links]
    return NvlinkStatus(found, notes)


def _state(text: str) -> str:
    if _RATE.fullmatch(text):
        return "up"
    return "down" if text.lower() == "<inactive>" else "unknown"
