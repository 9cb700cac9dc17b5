from __future__ import annotations

import msgspec

from producers.numbering import Numbering
from producers.source import Observed
from schemas import frames, records


def fault(node: str = "n", **more: int) -> Observed:
    return Observed(node, "kernel", records.encode(records.KernelFault(ts=1, node=node, fault="xid", code=31, **more)))


def frame(node: str = "n", epoch: int = 0, seq: int = 0) -> Observed:
    built = frames.build(
        node=node, seq=seq, epoch=epoch, gpus=[records.Gpu(uuid="G")], ticks=[1], columns={150: [40.0], 310: [7.0]}
    )
    return Observed(node, frames.KIND, frames.encode(built), 5)


def number(observed: Observed) -> tuple[int, int]:
    if observed.kind == frames.KIND:
        built = frames.decode(observed.value)
        return built.epoch, built.seq
    said = msgspec.json.decode(observed.value)
    return said["epoch"], said["seq"]


def test_faults_and_telemetry_of_each_node_count_apart() -> None:
    numbering = Numbering(1000)
    said = [fault(), frame(), fault(), frame("m"), frame(), fault("m")]
    assert [number(numbering.stamp(one)) for one in said] == [
        (1000, 1),
        (1000, 1),
        (1000, 2),
        (1000, 1),
        (1000, 2),
        (1000, 1),
    ]


def test_inventory_and_health_count_with_the_faults() -> None:
    numbering = Numbering(1000)
    inventory = Observed("n", "inventory", records.encode(records.Inventory(ts=1, node="n", gpus=[])))
    health = Observed("n", "source", records.encode(records.SourceStatus(ts=1, node="n", source="s", state="ok")))
    result = records.CommandResult(ts=1, node="n", id="c1", action="reset", state="refused")
    answer = Observed("n", "command-result", records.encode(result))
    test = records.Diagnostic(ts=1, node="n", uuid="GPU-a", tool="dcgmi diag", result="pass")
    diagnostic = Observed("n", "diagnostic", records.encode(test))
    said = fault(), inventory, health, answer, diagnostic
    assert [number(numbering.stamp(one))[1] for one in said] == [1, 2, 3, 4, 5]


def test_only_the_number_changes() -> None:
    before, after = frame(), Numbering(1000).stamp(frame())
    assert msgspec.msgpack.decode(after.value) == msgspec.msgpack.decode(before.value) | {"epoch": 1000, "seq": 1}
    assert (after.node, after.kind, after.ts) == (before.node, before.kind, before.ts)


def test_what_has_a_number_keeps_it() -> None:
    numbering = Numbering(1000)
    for numbered in (fault(epoch=7, seq=9), frame(epoch=7, seq=9), frame(seq=3)):
        assert numbering.stamp(numbered) is numbered


def test_what_has_no_number_or_cannot_be_read_passes_as_it_is() -> None:
    numbering = Numbering(1000)
    tick = Observed("", "tick", records.encode(records.Tick(ts=1)))
    for other in (
        tick,
        Observed("n", "unreadable", b"{"),
        Observed("n", "kernel", b"{"),
        Observed("n", "telemetry", b"{"),
    ):
        assert numbering.stamp(other) is other
