"""An incident as an explanation shows it: its evidence in the order of time, and whom else it is about."""

from __future__ import annotations

from collections.abc import Callable

from schemas.records import Gpu
from sinks.explain import told
from sinks.explain.model import Evidence, IncidentSeen

COPIED = (
    "id", "state", "family", "root", "text", "opened", "updated", "resolved", "count", "reopened", "corruption",
)  # fmt: skip


def shown(incident: told.Incident, is_explained: Callable[[Gpu], bool]) -> IncidentSeen:
    """is_explained: whether that is the GPU which is being explained."""
    evidence = [
        Evidence(
            what=each.what,
            first=each.first,
            last=each.last,
            count=each.count,
            gpu=each.gpu.uuid or each.gpu.bdf,
            text=each.text,
            raw=each.raw,
        )
        for each in sorted(incident.evidence, key=lambda each: each.first)
    ]
    others = [gpu.uuid or gpu.bdf for gpu in incident.gpus if not is_explained(gpu)]
    return IncidentSeen(**{name: getattr(incident, name) for name in COPIED}, gpus=others, evidence=evidence)
