"""What healthy fleets do all day: each habit is a process of one node (or of the fleet), none of them a fault."""

from __future__ import annotations

from random import Random

from schemas import fields, records
from tests.judge.world import Node, Steps, World

DAY_S = 86_400
CORRECTABLE_PER_GPU_AND_DAY = 0.15
REPLAYS_PER_GPU_AND_DAY = 20.0
CRC_PER_GPU_AND_DAY = 2.0
APPLICATION_XIDS_PER_1000_AND_DAY = 4.0  # 13: users' programs crash


def pause(random: Random, per_day: float) -> int:
    return 1 + int(random.expovariate(per_day / DAY_S))


def jobs(world: World, node: Node, random: Random) -> Steps:
    """Most of the time there is one."""
    if random.random() < 0.85:
        node.start_job(world.now, settled=True)
        yield random.randint(300, 7200)
    while True:
        while any(gpu.overheated_c for gpu in node.gpus):
            yield 60
        node.end_job(world.now)
        yield random.randint(60, 900)
        node.start_job(world.now)
        yield random.randint(1800, 4 * 3600)


def single_errors(world: World, field: int, daily: float, random: Random) -> Steps:
    """Now and then one error somewhere."""
    while True:
        yield pause(random, daily * len(world.gpus))
        gpu = random.choice(world.gpus)
        if not gpu.node.silent:
            gpu.node.count(gpu, field)
            if field == fields.ECC_SBE_VOLATILE:
                gpu.node.count(gpu, fields.ECC_SBE_AGGREGATE)


def crashing_programs(world: World, random: Random) -> Steps:
    """A user's program dies of its own error; the driver removes its channels."""
    while True:
        yield pause(random, APPLICATION_XIDS_PER_1000_AND_DAY * len(world.gpus) / 1000)
        gpu = random.choice(world.gpus)
        pid = random.randrange(2000, 99999)
        world.kernel(
            gpu,
            f"NVRM: Xid (PCI:{gpu.bdf}): 13, pid={pid}, name=python3, Graphics SM Warp Exception on (GPC 2, TPC 3,"
            " SM 0): Out Of Range Address",
        )
        world.kernel(gpu, f"NVRM: Xid (PCI:{gpu.bdf}): 45, pid={pid}, name=python3, Ch 00000008")


def _status(world: World, node: Node, state: str, detail: str = "", cause: str = "", source: str = "dcgm") -> None:
    told = {"source": source, "state": state, "detail": detail, "cause": cause}
    node.say(records.SourceStatus(ts=world.now_ms, node=node.name, **told))


def engine_restarts(world: World, node: Node, random: Random) -> Steps:
    """The host engine or the exporter restarts: no samples for a while, and the agent says so."""
    while True:
        yield pause(random, 1 / 7)
        if node.silent or node.paused:
            continue
        node.paused = True
        _status(world, node, "failing", "the host engine does not answer", "engine-down")
        down_s = random.randint(5, 45)
        world.attend(down_s + 30)
        yield down_s
        node.paused = False
        _status(world, node, "ok")


def agent_restarts(world: World, node: Node, random: Random) -> Steps:
    """The agent is upgraded, or crashes, and is back within seconds."""
    while True:
        yield pause(random, 1 / 10)
        if node.silent or node.paused:
            continue
        node.silent = True
        world.attend(40)
        yield random.randint(1, 8)
        node.silent = False
        node.restart_agent()
        node.inventory()


def driver_reloads(world: World, node: Node, random: Random) -> Steps:
    """The driver is loaded again (no persistence mode, a new version): volatile counters begin at zero."""
    while True:
        yield pause(random, 1 / 30)
        if node.silent or node.paused:
            continue
        yield from reload_driver(world, node, random)


def reload_driver(world: World, node: Node, random: Random, driver: str = "") -> Steps:
    node.end_job(world.now)
    node.paused = True
    _status(world, node, "failing", "the driver is not loaded", "driver")
    world.attend(90)
    yield random.randint(5, 25)
    node.load += 1
    node.driver = driver or node.driver
    node.restart_counters()
    node.inventory()
    node.paused = False
    _status(world, node, "ok")
    yield 5
    node.start_job(world.now)


def reboots(world: World, node: Node, random: Random) -> Steps:
    """An orderly reboot: the agent takes its leave, and is back after minutes, in another boot."""
    while True:
        yield pause(random, 1 / 30)
        if node.silent or node.paused:
            continue
        yield from reboot(world, node, random)


def reboot(world: World, node: Node, random: Random) -> Steps:
    node.end_job(world.now)
    _status(world, node, "ended", "stopped", source="agent")
    node.silent = True
    down_s = random.randint(180, 480)
    world.attend(down_s + 30)
    yield down_s
    node.silent = False
    node.boot = f"boot-{world.now}"
    node.load += 1
    node.restart_agent()
    node.restart_counters()
    node.inventory()
    yield 30
    node.start_job(world.now)


def rolling_upgrade(world: World, at_s: int, driver: str, random: Random) -> Steps:
    """A new driver on all nodes, a few at a time."""
    for first in range(0, len(world.nodes), 8):
        for node in world.nodes[first : first + 8]:
            if not (node.silent or node.paused):
                world.add(reload_driver(world, node, random, driver), world.now + random.randint(0, 60))
        yield 180


def mig_changes(world: World, node: Node, random: Random) -> Steps:
    """MIG is switched on, and off again days later: the list is short for a moment, remaps cannot be asked for."""
    while True:
        yield pause(random, 1 / 4)
        if node.silent or node.paused:
            continue
        gpu = random.choice(node.gpus)
        others = [each for each in node.gpus if each is not gpu]
        world.attend(60)
        node.list_gpus(others)
        node.inventory()
        yield random.randint(3, 15)
        node.mig = not node.mig
        node.list_gpus(node.gpus)
        world.hide_remaps(node, node.mig)
        node.inventory()


def add_habits(world: World, *, restarts: bool = True) -> None:
    """All habits; without `restarts` only those during which every node keeps talking."""
    for node in world.nodes:
        world.add(jobs(world, node, world.random(f"jobs/{node.name}")), 0)
    for field, daily in (
        (fields.ECC_SBE_VOLATILE, CORRECTABLE_PER_GPU_AND_DAY),
        (fields.PCIE_REPLAY_COUNTER, REPLAYS_PER_GPU_AND_DAY),
        (fields.NVLINK_CRC_FLIT_TOTAL, CRC_PER_GPU_AND_DAY),
    ):
        world.add(single_errors(world, field, daily, world.random(f"single/{field}")), 0)
    world.add(crashing_programs(world, world.random("programs")), 0)
    if not restarts:
        return
    for node in world.nodes:
        for habit in (engine_restarts, agent_restarts, driver_reloads, reboots):
            world.add(habit(world, node, world.random(f"{habit.__name__}/{node.name}")), 0)
        if node.number % 25 == 0:
            world.add(mig_changes(world, node, world.random(f"mig/{node.name}")), 0)
    world.add(rolling_upgrade(world, 0, "590.48.01", world.random("upgrade")), 10 * DAY_S)
