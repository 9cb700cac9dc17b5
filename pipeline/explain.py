"""Why a GPU has its weight: finds the GPU in a history, reads what concerns it, and has it put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pipeline import policies
from pipeline.errors import UsageProblem
from pipeline.history import Asked, History
from pipeline.moments import shown
from processors.policy import to_change
from schemas import topics
from schemas.log import Record
from schemas.records import GpuInfo, PolicyChange, gpu_key
from schemas.topics import DAY_S, TOPICS
from sinks.explain.assemble import GROUPS, INCIDENTS, PREDICTIONS, Assembler
from sinks.explain.model import Explanation, Presence
from sinks.explain.names import Known, find
from sinks.explain_http import CannotExplainError, Explain

BY_GPU = (
    topics.RATES,
    topics.SCORES,
    topics.DECISIONS,
    topics.EVICTIONS,
    PREDICTIONS,
    topics.REVALIDATIONS,
    topics.REVALIDATED,
)
RATES_MS = 2 * 3_600_000  # the heartbeat of rates is some minutes; older ones say nothing about now


class _Place(msgspec.Struct):
    node: str
    uuid: str = ""
    bdf: str = ""


class _Listed(msgspec.Struct):
    node: str
    gpus: list[GpuInfo] = []


def explain(history: History, name: str) -> Explanation:
    """name: a UUID, how one begins, or NODE/BDF. Raises UnknownGpu, and UsageProblem where the log cannot be read."""
    gpu = _found(history, name)
    assembler = Assembler(gpu)
    there = [topic for topic in TOPICS if topic in assembler.takes]
    span = history.span([topics.RATES])
    since = span[1] - RATES_MS if span else None
    history.read([_asked(topic, gpu, since) for topic in there], assembler.take)
    policy = policy_document(history, assembler.policy)
    return assembler.explanation(history.where, policy, _presence(history, gpu), _not_kept(there, history))


def explainer(open_history: Callable[[], History]) -> Explain:
    """For pages: `explain` of a history that is opened for each question."""

    def answer(name: str) -> Explanation:
        try:
            return explain(open_history(), name)
        except UsageProblem as error:
            raise CannotExplainError(error.text) from error

    return answer


def _found(history: History, name: str) -> Known:
    """A full name that an inventory holds is enough; else whatever was judged is looked through as well."""
    listed = known_gpus(history, (topics.INVENTORY,))
    for gpu in listed.values():
        if name in (gpu.uuid, gpu.place):
            return gpu
    judged = known_gpus(history, (topics.SCORES, topics.DECISIONS))
    return find(name, {**judged, **listed})


def known_gpus(history: History, sources: Sequence[str]) -> dict[str, Known]:
    """The GPUs that the topics `sources` speak of, by key. Of what was judged, where that was first."""
    found: dict[str, Known] = {}
    place = msgspec.json.Decoder(_Place).decode
    listed = msgspec.json.Decoder(_Listed).decode

    def take(topic: str, record: Record) -> None:
        if not record.value or record.key in found:
            return
        try:
            if topic == topics.INVENTORY:
                inventory = listed(record.value)
                for gpu in inventory.gpus:
                    key = gpu_key(inventory.node, gpu.uuid, gpu.bdf)
                    found[key] = Known(key, inventory.node, gpu.uuid, gpu.bdf)
            else:
                at = place(record.value)
                found[record.key] = Known(record.key, at.node, at.uuid, at.bdf)
        except ValueError:  # no record of ours: it names no GPU
            return

    history.read([Asked(topic) for topic in sources], take)
    return found


def policy_document(history: History, id: str) -> dict[str, Any] | None:
    """What the policy `id` says; None: it is none of ours, and the log does not keep it any more."""
    if not id:
        return None
    for profile in policies.PROFILES:
        policy = policies.load(profile)
        if policy.id == id:
            return to_change(policy, 0).document
    found: list[dict[str, Any]] = []

    def take(topic: str, record: Record) -> None:
        try:
            change = msgspec.json.decode(record.value, type=PolicyChange)
        except ValueError:
            return
        if change.id == id:
            found[:] = [change.document]

    history.read([Asked(topics.FLEET_EVENTS, kinds=frozenset({"policy"}))], take)
    return found[0] if found else None


def _asked(topic: str, gpu: Known, rates_since: int | None) -> Asked:
    if topic in BY_GPU:
        keys = frozenset({gpu.key, gpu.place})
        return Asked(topic, rates_since if topic == topics.RATES else None, keys)
    return Asked(topic) if topic in (INCIDENTS, GROUPS) else Asked(topic, keys=frozenset({gpu.node}))


def _presence(history: History, gpu: Known) -> Presence:
    heard = history.heard(gpu.node)
    if heard is None:
        return Presence(text=f"nothing was heard of {gpu.node} {history.heard_within}")
    return Presence(heard=heard, text=f"{gpu.node} was last heard {shown(heard)} UTC")


def _not_kept(there: list[str], history: History) -> list[str]:
    """By what the topics promise, and what the log lacks."""
    if not history.forgets:
        return history.notes
    kept = [TOPICS[topic] for topic in there]
    lasting = ", ".join(topic.name for topic in kept if topic.compacted)
    notes = [f"{topic.name} older than {topic.retention_s // DAY_S} days" for topic in kept if topic.retention_s]
    return [*notes, f"earlier records of {lasting} than the newest, once the log has compacted them", *history.notes]
