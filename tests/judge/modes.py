"""Failure modes beyond those of the product specification's table, in the manner of `producers.faults`."""

from __future__ import annotations

from random import Random
from typing import Any

from schemas import fields, records
from schemas.states import Action, Condition
from tests.judge.world import Steps, World


def xid(world: World, gpu: Any, code: int, text: str) -> None:
    world.kernel(gpu, f"NVRM: Xid (PCI:{gpu.bdf}): {code}, pid='<unknown>', name=<unknown>, {text}")


def gpu_stopped(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """A hang that the driver ends: Xid 43."""
    world.inject("hang-stopped", gpu, Condition.FAILED, Action.DRAIN)
    xid(world, gpu, 43, "Ch 00000010")
    yield from ()


def gsp_timeout(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """The GPU's firmware answers no more: Xid 119, and from then on all its fields are blank."""
    world.inject("gsp-timeout", gpu, Condition.FAILED, Action.EVICT)
    xid(world, gpu, 119, "Timeout after 6s of waiting for RPC response from GPU0 GSP! Expected function 76.")
    gpu.node.lose(gpu)
    yield from ()


def blank_gpu(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """All fields go blank, with fresh timestamps, and nobody says why."""
    world.inject("blank", gpu, Condition.UNKNOWN, Action.MONITOR)
    gpu.node.lose(gpu)
    world.attend(60)
    yield from ()


def gone_gpu(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """The GPU vanishes from its node's list without a word."""
    world.inject("gone", gpu, Condition.FAILED, Action.EVICT)
    world.attend(180)
    world.drop(gpu)
    yield from ()


def remap_failed(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """No spare row is left: flag 395, Xid 64."""
    world.inject("remap-failure", gpu, Condition.FAILED, Action.EVICT_PERMANENTLY)
    gpu.node.count(gpu, fields.ROW_REMAP_FAILURE)
    xid(world, gpu, 64, "Row Remapper Error: (0x00000005d28c03a0) - All reserved rows for bank are remapped")
    yield from ()


def uncontained(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """An uncontained memory error, said many times."""
    world.inject("uncontained-ecc", gpu, Condition.FAILED, Action.EVICT)
    for _ in range(random.randint(1, 40)):
        xid(world, gpu, 95, "Uncontained: FBHUB (0x1). RST: Yes, D-RST: No")
    yield from ()


def silent_count(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """An uncorrectable error that only the counter shows: nobody reads this node's kernel log."""
    world.inject("uncorrectable-counter", gpu, Condition.FAILED, Action.EVICT)
    gpu.node.count(gpu, fields.ECC_DBE_VOLATILE)
    yield from ()


def contained_storm(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """Contained errors, each harmless: more than ten within the hour."""
    world.inject("contained-ecc-rate", gpu, Condition.FAILED, Action.EVICT)
    for _ in range(12):
        xid(world, gpu, 94, "Contained: SM (0x1). RST: No, D-RST: No")
        yield random.randint(10, 60)


def power_brake(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """The rack takes power away: the brake shows in the clock event reasons, under load."""
    fault = world.inject("power-brake", gpu, Condition.WARNING, Action.MONITOR)
    world.braked[gpu.node.number, gpu.at] = True
    gpu.node.start_job(world.now)
    world.attend(600)
    yield 600
    world.braked[gpu.node.number, gpu.at] = False
    world.end(fault)


def link_down(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """One NVLink of eighteen is down; the driver says Xid 74."""
    world.inject("nvlink-down", gpu, Condition.WARNING, Action.MONITOR)
    down = random.randrange(18)
    links = ["down" if link == down else "up" for link in range(18)]
    gpu.node.say(records.LinkStatus(ts=world.now_ms, node=gpu.node.name, uuid=gpu.uuid, bdf=gpu.bdf, links=links))
    xid(world, gpu, 74, f"NVLink: fatal error detected on link {down}(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)")
    world.attend(60)
    yield from ()


def health_failure(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """A health watch of the host engine fails, and nothing else says anything."""
    world.inject("health-watch", gpu, Condition.FAILED, Action.EVICT)
    told = records.HealthIncident(
        ts=world.now_ms, node=gpu.node.name, uuid=gpu.uuid, bdf=gpu.bdf, system="memory", health="fail", code=4
    )
    gpu.node.say(told)
    world.attend(30)
    yield from ()


def failed_diagnostic(world: World, gpu: Any, random: Random, severity: float) -> Steps:
    """The memory test of a diagnostic fails."""
    world.inject("diagnostic", gpu, Condition.FAILED, Action.EVICT)
    test = records.DiagnosticTest(name="memory", result="fail", codes=[34])
    told = records.Diagnostic(
        ts=world.now_ms,
        node=gpu.node.name,
        uuid=gpu.uuid,
        bdf=gpu.bdf,
        tool="dcgmi diag",
        level=2,
        result="fail",
        started=world.now_ms - 60_000,
        tests=[test],
    )
    gpu.node.say(told)
    world.attend(30)
    yield from ()


FURTHER = (
    gpu_stopped,
    gsp_timeout,
    blank_gpu,
    gone_gpu,
    remap_failed,
    uncontained,
    silent_count,
    contained_storm,
    power_brake,
    link_down,
    health_failure,
    failed_diagnostic,
)
