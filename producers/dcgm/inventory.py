"""Which GPUs and MIG instances the engine has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from producers.dcgm.engine import Engine, EngineError
from producers.dcgm.values import COMPUTE_INSTANCE, GPU, GPU_INSTANCE, Entity
from schemas.fields import BLANK_TEXT
from schemas.kernel_lines import canonical_bdf
from schemas.records import Gpu, GpuInfo

FIRST_NVLINK = 8  # from this bit on, bit n of a path means n - 7 links
MIG_ENABLED = 1
STATUS: dict[int | None, str] = {2: "unsupported", 3: "inaccessible", 4: "lost", 6: "disabled", 7: "detached"}
UNNAMED = 0xFFFF_FFFF


class Place(NamedTuple):
    """Where something happened: a GPU, or a MIG instance of it."""

    gpu: Gpu
    gi: int | None = None
    ci: int | None = None


class Survey(msgspec.Struct):
    """What an engine has. gpus: by its own numbers. instances: of MIG, with their places. statuses: of those GPUs
    that are not well, in words.
    """

    gpus: dict[int, GpuInfo] = {}
    instances: dict[Entity, Place] = {}
    statuses: dict[int, str] = {}
    driver: str = ""

    @property
    def entities(self) -> list[Entity]:
        return [(GPU, number) for number in self.gpus] + list(self.instances)

    def identity(self, number: int) -> Gpu:
        info = self.gpus[number]
        return Gpu(uuid=info.uuid, bdf=info.bdf)

    def place(self, entity: Entity) -> Place:
        """Of what is neither a GPU nor a part of one: nowhere."""
        kind, number = entity
        if kind == GPU and number in self.gpus:
            return Place(self.identity(number))
        return self.instances.get(entity, Place(Gpu()))


def survey(engine: Engine) -> Survey:
    """Ask the engine for all it has; blocks. A GPU of which it tells nothing is not listed. Raises EngineError."""
    found = Survey()
    modes: dict[int, bool] = {}
    for number in engine.gpus():
        attributes = _unless_refused(engine.attributes, number)
        uuid = "" if attributes is None else _text(attributes.identifiers.uuid)
        if not uuid:  # a number that the engine does not know any more is answered with nothing, not with an error
            continue
        identifiers = attributes.identifiers
        modes[number] = getattr(attributes, "settings", None) is not None and _mig(attributes.settings)
        found.driver = found.driver or _text(identifiers.driverVersion)
        found.gpus[number] = GpuInfo(
            uuid=uuid,
            bdf=canonical_bdf(_text(identifiers.pciBusId)) or "",
            model=_text(identifiers.deviceName),
            serial=_text(identifiers.serial),
        )
        if status := STATUS.get(_unless_refused(engine.status, number)):
            found.statuses[number] = status
    told = _add_instances(engine, found)
    parts: dict[str, set[int]] = {}
    for place in found.instances.values():
        parts.setdefault(place.gpu.uuid, set()).update(() if place.gi is None else (place.gi,))
    for number, info in found.gpus.items():
        divided = modes[number] or info.uuid in parts
        found.gpus[number] = msgspec.structs.replace(
            info,
            mig=divided,
            peers=_peers(engine, found, number),
            instances=sorted(parts.get(info.uuid, ())) if divided and told else None,
        )
    return found


def _add_instances(engine: Engine, found: Survey) -> bool:
    """Whether the engine tells them."""
    answer = _unless_refused(engine.instances)
    if answer is None:  # an engine or a GPU without MIG
        return False
    parents: dict[Entity, Entity] = {}
    rows = [answer.entityList[at] for at in range(answer.count)]
    for row in rows:
        parents[_pair(row.entity)] = _pair(row.parent)
    for row in rows:
        entity = _pair(row.entity)
        if entity[0] not in (GPU_INSTANCE, COMPUTE_INSTANCE):
            continue
        top = entity
        for _ in range(2):  # compute instance, instance, GPU
            top = parents.get(top, top)
        if top[0] == GPU and top[1] in found.gpus:
            ci = _number(row.info.nvmlComputeInstanceId) if entity[0] == COMPUTE_INSTANCE else None
            found.instances[entity] = Place(found.identity(top[1]), _number(row.info.nvmlInstanceId), ci)
    return True


def _peers(engine: Engine, found: Survey, number: int) -> dict[str, int]:
    """How many NVLinks lead to which other GPU."""
    topology = _unless_refused(engine.topology, number)
    if topology is None:  # one GPU alone, or a driver that does not tell
        return {}
    paths = [topology.gpuPaths[at] for at in range(topology.numGpus)]
    links = {path.gpuId: (path.path >> FIRST_NVLINK).bit_length() for path in paths}
    return {found.gpus[peer].uuid: count for peer, count in links.items() if count and peer in found.gpus}


def _unless_refused(ask: Callable[..., Any], *arguments: int) -> Any:
    """The answer; None where the engine has none. Raises EngineError if there is no connection any more."""
    try:
        return ask(*arguments)
    except EngineError as error:
        if error.connection_gone:
            raise
        return None


def _pair(entity: Any) -> Entity:
    return entity.entityGroupId, entity.entityId


def _number(value: int) -> int | None:
    return None if value >= UNNAMED else value


def _mig(settings: Any) -> bool:
    return getattr(settings, "migModeEnabled", None) == MIG_ENABLED


def _text(value: str) -> str:
    return "" if value in BLANK_TEXT else value
