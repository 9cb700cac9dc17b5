"""What people and machines do about GPUs that were taken out, so that a fleet lives on."""

from __future__ import annotations

from random import Random

import numpy as np

from schemas import records
from schemas.alerts import needs_person
from schemas.records import Eviction
from tests.judge.world import Node, Steps, World

RESET_S = 600  # drain, reset and diagnose, where nobody is needed
HOURS = (2, 24)  # until somebody has come, reset or replaced it


def repair_s(case: Eviction, random: Random) -> int:
    """Seconds from the opening of a case to its end."""
    return random.randint(*HOURS) * 3600 if needs_person(case) else RESET_S


def repair(world: World, case: Eviction) -> Steps:
    """The GPU is well again, or another one in all but name; an operator puts it back."""
    node = next(node for node in world.nodes if node.name == case.node)
    gpu = next(gpu for gpu in node.gpus if gpu.uuid == case.uuid)
    if gpu.lost or gpu not in node.present:
        gpu.lost = False
        world.blank[node.number, gpu.at] = False
        world.counters[node.number, :, gpu.at] = 0.0
        _back(node, [*node.present, *([] if gpu in node.present else [gpu])])
    gpu.overheated_c = None
    if node.silent:
        node.silent, node.boot = False, f"boot-{world.now}"
        node.restart_agent()
        node.restart_counters()
        node.inventory()
    flags = world.counters[node.number, :, gpu.at]
    flags[~np.isnan(flags)] = 0.0
    world.urgent.add(node.number)
    world.attend(60)
    yield 15
    word = records.Operator(ts=world.now_ms, node=node.name, action="restore", uuid=gpu.uuid, bdf=gpu.bdf)
    world.append(node.name, "operator", records.encode(word))


def _back(node: Node, present: list[object]) -> None:
    node.list_gpus([gpu for gpu in node.gpus if gpu in present])
    node.inventory()
