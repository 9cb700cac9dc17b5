"""NVLink states as the engine tells them, and what of them is news."""

from __future__ import annotations

from typing import Any

from producers.dcgm.inventory import Survey
from schemas.records import Gpu, LinkStatus

UNSUPPORTED = "unsupported"
STATES = {0: UNSUPPORTED, 1: "disabled", 2: "down", 3: "up"}


def read_links(answer: Any, found: Survey) -> dict[str, list[str]]:
    """The states of each GPU's links, by its UUID. The table is as long as the largest GPU needs: its tail is cut."""
    states = {}
    for at in range(answer.numGpus):
        entry = answer.gpus[at]
        if entry.entityId in found.gpus:
            links = [STATES.get(state, f"state {state}") for state in entry.linkState]
            while links and links[-1] == UNSUPPORTED:
                links.pop()
            states[found.gpus[entry.entityId].uuid] = links
    return states


class Links:
    """What has been told of each GPU."""

    def __init__(self) -> None:
        self._told: dict[str, list[str]] = {}

    def news(
        self, states: dict[str, list[str]], gpus: list[Gpu], *, ts: int, node: str, cluster: str
    ) -> list[LinkStatus]:
        """The GPUs whose links have changed; one that never had any is not mentioned."""
        said = []
        for gpu in gpus:
            links = states.get(gpu.uuid)
            if links is not None and links != self._told.get(gpu.uuid, []):
                self._told[gpu.uuid] = links
                said.append(LinkStatus(ts=ts, cluster=cluster, node=node, uuid=gpu.uuid, bdf=gpu.bdf, links=links))
        return said
