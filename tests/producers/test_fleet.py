from __future__ import annotations

import statistics
from collections import Counter, defaultdict

import msgspec
import pytest

from producers.faults import FAILURE_MODES, Injected
from producers.fleet import Fleet
from producers.source import Observed
from schemas import fields, frames, records
from schemas.kernel_lines import LineReader

NAN = float("nan")


def live(seconds: int, gpus: int = 64, **options: object) -> tuple[Fleet, list[Observed]]:
    fleet = Fleet(gpus, **options)  # type: ignore[arg-type]
    return fleet, [observed for _ in range(seconds) for observed in fleet.advance()]


def telemetry(said: list[Observed]) -> list[frames.TelemetryFrame]:
    return [frames.decode(one.value) for one in said if one.kind == frames.KIND]


def kernel(said: list[Observed]) -> list[records.KernelFault]:
    decode = msgspec.json.Decoder(records.KernelFault).decode
    return [decode(one.value) for one in said if one.kind == "kernel"]


def series(said: list[Observed], uuid: str) -> dict[int, list[tuple[int, float]]]:
    """field -> (ts, value) of one GPU."""
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for frame in telemetry(said):
        ids = [gpu.uuid for gpu in frame.gpus]
        if uuid not in ids:
            continue
        for field, values in frame.columns():
            found[field] += zip(frame.ticks, values[ids.index(uuid) :: len(ids)], strict=True)
    return found


@pytest.fixture(scope="module")
def opening() -> tuple[Fleet, list[Observed]]:
    return live(1000)


def injected(opening: tuple[Fleet, list[Observed]], mode: str) -> tuple[Injected, list[Observed]]:
    fleet, said = opening
    return next(fault for fault in fleet.truth if fault.mode == mode), said


def growth(opening: tuple[Fleet, list[Observed]], mode: str) -> dict[int, float]:
    """By how much each value of the faulty GPU grew since the fault began."""
    fault, said = injected(opening, mode)
    return {
        field: max(value for _, value in values) - [value for ts, value in values if ts < fault.start][-1]
        for field, values in series(said, fault.uuid).items()
    }


def grown(opening: tuple[Fleet, list[Observed]], mode: str, field: int) -> float:
    return growth(opening, mode)[field]


def test_equal_arguments_give_equal_bytes_and_another_seed_another_fleet() -> None:
    assert live(120, seed=3)[1] == live(120, seed=3)[1]
    assert live(1, seed=3)[1] != live(1, seed=4)[1]


def test_a_muted_life_leads_to_the_same_present() -> None:
    lived, muted = Fleet(40), Fleet(40)
    for second in range(700):
        lived.advance()
        said = muted.advance(muted=second < 695)
        assert second >= 695 or said == []
    assert [lived.advance() for _ in range(30)] == [muted.advance() for _ in range(30)]
    assert lived.truth == muted.truth


def test_a_node_says_each_second_once_in_frames_of_five_numbered_without_a_gap() -> None:
    fleet, said = live(300, gpus=20, opening=False, failure_rate=0.0)
    for node in fleet.nodes:
        spoken = [frame for frame in telemetry(said) if frame.node == node.name]
        assert [frame.seq for frame in spoken] == list(range(1, len(spoken) + 1))
        ticks = [ts for frame in spoken for ts in frame.ticks]
        assert ticks == list(range(ticks[0], ticks[0] + 1000 * len(ticks), 1000))
        assert Counter(len(frame.ticks) for frame in spoken).most_common(1)[0][0] == 5


def test_no_second_passes_without_a_record() -> None:
    fleet, said = live(600, gpus=1, opening=False, failure_rate=0.0)
    assert {one.ts for one in said} == {fleet.now_ms - 1000 * ago for ago in range(600)}
    assert Counter(one.kind for one in said)["tick"] > 300


def test_a_count_that_moves_is_published_at_once(opening: tuple[Fleet, list[Observed]]) -> None:
    fault, said = injected(opening, "correctable-ecc")
    values = dict(series(said, fault.uuid)[fields.ECC_SBE_VOLATILE])
    moved = [ts for ts in values if ts > fault.start and values[ts] > values.get(ts - 1000, NAN)]
    published = {one.ts for one in said if one.node == fault.node}
    assert moved
    assert set(moved) <= published


def test_a_sound_fleet_has_sound_habits() -> None:
    fleet, said = live(1800, opening=False, failure_rate=0.0)
    assert fleet.truth == []
    assert kernel(said) == []
    seen: dict[int, list[float]] = defaultdict(list)
    for frame in telemetry(said):
        for field, values in frame.columns():
            seen[field] += values
    for field in (fields.ECC_DBE_VOLATILE, fields.ROW_REMAP_FAILURE, fields.NVLINK_CRC_FLIT_TOTAL):
        assert set(seen[field]) == {0.0}
    assert max(seen[fields.ECC_SBE_VOLATILE]) <= 10
    reasons = Counter(seen[fields.CLOCK_EVENT_REASONS])
    assert set(reasons) <= {0.0, 1.0, 2.0, 4.0}
    assert 0.85 < reasons[4.0] / (reasons[0.0] + reasons[4.0]) < 0.95  # under load
    assert max(seen[fields.POWER]) <= 710
    assert 38 <= statistics.median(seen[fields.GPU_TEMP]) <= 70
    assert max(seen[fields.GPU_TEMP]) < 75
    load = zip(seen[fields.GPU_TEMP], seen[fields.CLOCK_EVENT_REASONS], strict=True)
    assert 60 <= statistics.median(temp for temp, reason in load if reason == 4.0) <= 70


def test_inventory_names_every_gpu_once() -> None:
    fleet, said = live(1, gpus=20)
    inventories = [msgspec.json.decode(one.value, type=records.Inventory) for one in said if one.kind == "inventory"]
    assert [len(inventory.gpus) for inventory in inventories] == [8, 8, 4]
    assert len({gpu.uuid for inventory in inventories for gpu in inventory.gpus}) == 20
    assert len({gpu.bdf for gpu in inventories[0].gpus}) == 8
    assert fleet.now == 0


# --- each failure mode shows in what the nodes say ---


def test_the_opening_shows_every_mode_on_gpus_of_its_own(opening: tuple[Fleet, list[Observed]]) -> None:
    first = opening[0].truth[: len(FAILURE_MODES)]
    assert len({fault.mode for fault in first}) == len(FAILURE_MODES)
    assert len({fault.node for fault in first}) == 8
    assert max(fault.start for fault in first) - first[0].start <= 360_000


def test_an_ecc_storm_counts_thousands(opening: tuple[Fleet, list[Observed]]) -> None:
    assert grown(opening, "correctable-ecc", fields.ECC_SBE_VOLATILE) >= 3000
    assert grown(opening, "correctable-ecc", fields.ECC_SBE_AGGREGATE) >= 3000
    assert injected(opening, "correctable-ecc")[0].end is not None


def test_an_uncorrectable_error_shows_in_counter_311_and_as_xid_48(opening: tuple[Fleet, list[Observed]]) -> None:
    fault, said = injected(opening, "uncorrectable-ecc")
    assert grown(opening, "uncorrectable-ecc", fields.ECC_DBE_VOLATILE) == 1
    assert grown(opening, "uncorrectable-ecc", fields.ROW_REMAP_PENDING) == 1
    assert [(one.code, one.ts - fault.start) for one in kernel(said) if one.uuid == fault.uuid] == [(48, 0), (63, 1000)]


def test_nvlink_errors_are_those_of_one_link(opening: tuple[Fleet, list[Observed]]) -> None:
    by_field = growth(opening, "nvlink-crc")
    total = by_field[fields.NVLINK_CRC_FLIT_TOTAL]
    links = [by_field[field] for field in fields.NVLINK_CRC_FLIT]
    assert total > 10_000
    assert sorted(links)[-2:] == [0, total]


def test_throttling_shows_heat_reasons_and_slow_clocks_under_load(opening: tuple[Fleet, list[Observed]]) -> None:
    fault, said = injected(opening, "thermal-throttling")
    own = series(said, fault.uuid)
    late = {field: values[-1][1] for field, values in own.items()}
    assert late[fields.GPU_TEMP] >= 87
    assert late[fields.GPU_TEMP_MARGIN] <= 0
    assert int(late[fields.CLOCK_EVENT_REASONS]) & 0x60 == 0x60
    assert not int(late[fields.CLOCK_EVENT_REASONS]) & 0x1
    assert late[fields.SM_CLOCK] < 0.85 * 1830


def test_a_page_fault_is_xid_31(opening: tuple[Fleet, list[Observed]]) -> None:
    fault, said = injected(opening, "hang-page-fault")
    assert [one.code for one in kernel(said) if one.uuid == fault.uuid] == [31]


def test_a_gpu_off_the_bus_goes_blank_and_then_vanishes(opening: tuple[Fleet, list[Observed]]) -> None:
    fault, said = injected(opening, "hang-off-the-bus")
    assert [(one.fault, one.code) for one in kernel(said) if one.uuid == fault.uuid] == [
        ("bus-loss", None),
        ("xid", 79),
    ]
    own = series(said, fault.uuid)
    for values in own.values():
        after = [(ts, value) for ts, value in values if ts >= fault.start]
        assert len(after) == 30
        assert all(value != value for _, value in after)
        assert all(value == value for ts, value in values if ts < fault.start)
    others = [frame for frame in telemetry(said) if frame.node == fault.node and frame.ticks[0] > fault.start + 30_000]
    assert {len(frame.gpus) for frame in others} == {7}


def test_a_replay_storm_is_far_above_what_a_sound_link_does(opening: tuple[Fleet, list[Observed]]) -> None:
    assert grown(opening, "pcie-replay", fields.PCIE_REPLAY_COUNTER) > 5 * 5 * 31


def test_a_dead_node_says_nothing_more(opening: tuple[Fleet, list[Observed]]) -> None:
    fault, said = injected(opening, "complete-failure")
    assert (fault.uuid, fault.bdf) == ("", "")
    assert max(one.ts or 0 for one in said if one.node == fault.node) < fault.start


def test_kernel_lines_are_such_as_the_parser_reads_from_a_real_log(opening: tuple[Fleet, list[Observed]]) -> None:
    for fault in kernel(opening[1]):
        (event,) = LineReader().feed(fault.raw)
        assert (event.kind, event.code, event.ts, event.bdf) == (fault.fault, fault.code, fault.ts, fault.bdf)


@pytest.mark.parametrize("gpus", [1, 3, 9])
def test_any_size_of_fleet_lives_through_the_opening(gpus: int) -> None:
    fleet, said = live(500, gpus=gpus, failure_rate=5000.0)
    assert fleet.truth
    assert all(frame.fault() is None for frame in telemetry(said))


def test_failures_come_as_often_as_asked() -> None:
    fleet = Fleet(1000, opening=False, failure_rate=100.0)
    for _ in range(6 * 3600):
        fleet.advance(muted=True)
    yearly = sum(mode.yearly for mode in FAILURE_MODES)
    expected = yearly * 100 * 6 / (365 * 24)
    assert 0.6 * expected < len(fleet.truth) < 1.4 * expected
