"""Whole frames judged at once come to the same as every sample judged by itself."""

from __future__ import annotations

from random import Random
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import moves
from processors.counting import CounterRate, LatestLevel
from processors.node import NodeTask
from processors.signal import Signal
from processors.state import BlockView, Column, Table
from processors.testing import Observations, gpu, judge
from processors.windows import RateWindow
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    ECC_DBE_VOLATILE,
    ECC_SBE_VOLATILE,
    GPU_TEMP,
    GPU_TEMP_MARGIN,
    NVLINK_CRC_FLIT_TOTAL,
    PCIE_REPLAY_COUNTER,
    REMAPPED_UNCORRECTABLE,
    RETIRED_DBE,
    RETIRED_SBE,
    ROW_REMAP_FAILURE,
    ROW_REMAP_PENDING,
    THERMAL_VIOLATION,
)
from schemas.log import Checkpoint, Output, Record
from schemas.policy import Thresholds
from schemas.records import Gpu

COUNTERS = (
    *(ECC_SBE_VOLATILE, NVLINK_CRC_FLIT_TOTAL, PCIE_REPLAY_COUNTER, REMAPPED_UNCORRECTABLE, RETIRED_SBE, RETIRED_DBE),
    *(ECC_DBE_VOLATILE, THERMAL_VIOLATION),  # the last is one that nobody reads
)
FLAGS = (ROW_REMAP_FAILURE, ROW_REMAP_PENDING)
STEPS = (1, 1, 1, 2, 3, 9, 40, 400, 20_000, 2**33, 0.5)
ODD = (None, None, -1.0, float("inf"), 0)  # blank, what no counter can be, a restart
GAUGES = {
    GPU_TEMP: (55, 81, 86, 95, None),
    GPU_TEMP_MARGIN: (30, 4, -1, None, None),
    CLOCK_EVENT_REASONS: (0x4, 0x20, 0x60, 0x1, None),
}


class Fleet:
    """Nodes of one or several GPUs whose counters move, or rest, as `draw` decides."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.nodes = draw.choice((1, 3, 6))
        self.gpus = draw.choice((1, 2, 3))
        self.ticks = draw.choice((1, 3, 5))
        self.step_s = draw.choice((1.0, 1.0, 0.4, 4.0))  # slots are 5 s and 60 s long
        self.moving = draw.choice((0.0, 0.02, 0.5, 1.0))  # how likely a counter moves at a tick
        self.odd = draw.choice((0.0, 0.0, 0.01))  # how likely it does something else
        self.gauge = draw.choice((0.0, 0.0, 0.02, 0.7))  # how likely a gauge is not as usual
        self.mixed = draw.choice((0.0, 0.0, 0.2))  # how likely a frame leaves a field out
        self.inventories = draw.choice((0.03, 0.4))
        self.fields = [field for field in (*COUNTERS, *FLAGS) if draw.random() < 0.7]
        self.known: dict[tuple[int, int, int], float] = {}

    def log(self, rounds: int) -> list[Record]:
        draw, log, at_s = self.draw, Observations(), 1.0
        ahead_s = [draw.choice((0.0, 0.0, 0.3, 2.5)) for _ in range(self.nodes)]
        for _ in range(rounds):
            span_s = self.ticks * self.step_s
            for node in range(self.nodes):
                ticks_s = [at_s + ahead_s[node] + self.step_s * tick for tick in range(self.ticks)]
                log.frame(f"n{node}", at_s, self.columns(node), gpus=self.gpus, ticks_s=ticks_s, append_s=at_s + span_s)
                if draw.random() < self.inventories:
                    log.inventory(f"n{node}", at_s + span_s, self.gpus, boot=str(draw.randrange(2)))
                if draw.random() < 0.02:
                    log.restore(f"n{node}", at_s + span_s, draw.randrange(self.gpus))
            at_s += span_s + draw.choice((0.0,) * 9 + (70.0, 4000.0))
        return log.tick(at_s + 10).records

    def columns(self, node: int) -> dict[int, Any]:
        cells = [(tick, gpu) for tick in range(self.ticks) for gpu in range(self.gpus)]
        columns: dict[int, Any] = {}
        for field, (usual, *others) in GAUGES.items():
            columns[field] = [self.draw.choice(others) if self.draw.random() < self.gauge else usual for _ in cells]
        for field in self.fields:
            columns[field] = [self.counter(node, field, gpu) for _, gpu in cells]
        for field in [field for field in columns if self.draw.random() < self.mixed]:
            del columns[field]
        return columns

    def counter(self, node: int, field: int, gpu: int) -> float | None:
        draw, key = self.draw, (node, field, gpu)
        value = self.known.setdefault(key, 0 if field in FLAGS else draw.choice((0, 5)))
        if draw.random() < self.odd:
            odd = draw.choice(ODD)
            self.known[key] = 0 if odd == 0 else value
            return odd
        if draw.random() < self.moving:
            if field in FLAGS:
                value = draw.choice((value,) * 9 + (1 - value,))
            else:
                value += draw.choice(STEPS[:3]) if draw.random() < 0.9 else draw.choice(STEPS)
            self.known[key] = value
        return value


def in_batches(log: list[Record], size: int, *, restored: bool) -> tuple[list[Output], Checkpoint]:
    task, said = NodeTask(), []
    for start in range(0, len(log), size):
        said += task.step(log[start : start + size])
        if restored:
            saved = task.checkpoint()
            task = NodeTask()
            task.restore(saved)
    return said, task.checkpoint()


def one_by_one(log: list[Record]) -> tuple[list[Output], Checkpoint]:
    """Record by record and tick by tick: no frame is compared with the one before, and no signal is asked at once."""
    task, said = NodeTask(), []
    count = len(task.judges.signals)
    task.judges.rounds._in_blocks = [False] * count
    task.judges.rounds._grows = [False] * count
    with mock.patch.object(moves, "_remember"), mock.patch.object(moves, "_everywhere", return_value=None):
        for record in log:
            said += task.step([record])
    return said, task.checkpoint()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 7, 1000]), st.booleans())
def test_whole_frames_are_judged_like_single_samples(seed: int, batch: int, restored: bool) -> None:
    """Outputs and state, to the byte: with restarts, blanks, slot boundaries and layouts that come and go."""
    log = Fleet(Random(seed)).log(rounds=14)
    assert in_batches(log, batch, restored=restored) == one_by_one(log)


def test_the_fleets_go_both_ways() -> None:
    """Else the test above would compare something with itself."""
    seen = {"growth": 0, "change": 0, "steady": 0}
    growth, change = CounterRate.on_growth, CounterRate.on_change

    def watch_growth(self: CounterRate, wave: Any, state: Any, policy: Any, trial: Any) -> None:
        growth(self, wave, state, policy, trial)
        seen["growth"] += 1
        seen["steady"] += int(np.count_nonzero(trial.steady))

    def watch_change(self: CounterRate, *given: Any) -> None:
        seen["change"] += 1
        change(self, *given)

    with (
        mock.patch.object(CounterRate, "on_growth", watch_growth),
        mock.patch.object(CounterRate, "on_change", watch_change),
    ):
        for seed in range(12):
            judge(Fleet(Random(seed)).log(rounds=10))
    assert min(seen.values()) > 50, seen


def still(log: Observations, at_s: float, *more: float) -> Observations:
    """A counter at 5 at the first tick of a frame, and `more` at the next ones."""
    ticks_s = [at_s + tick for tick in range(1 + len(more))]
    return log.frame("n1", at_s, {ECC_SBE_VOLATILE: [5.0, *more]}, gpus=1, ticks_s=ticks_s, append_s=ticks_s[-1])


def test_a_frame_that_repeats_the_one_before_is_looked_at_where_the_counter_moved_meanwhile() -> None:
    log = still(still(still(Observations(), 1.0), 2.0), 3.0, 6.0)  # up at the last tick
    for at_s in (5.0, 6.0, 7.0):
        still(log, at_s)  # it has restarted, and stands at 5 again
    for batch in (1, 2, 100):
        assert in_batches(log.records, batch, restored=False) == one_by_one(log.records)
    assert judge(log.tick(3595.0).tick(3601.0)).rates[-1].value == 1 + 5


def test_a_frame_that_repeats_the_one_before_is_looked_at_after_a_restart() -> None:
    log = still(still(still(Observations().inventory("n1", 0.5, boot="a"), 1.0), 2.0), 3.0)
    still(still(log.inventory("n1", 3.5, boot="b"), 4.0), 5.0)
    for batch in (1, 2, 100):
        assert in_batches(log.records, batch, restored=False) == one_by_one(log.records)
    assert judge(log.tick(3595.0).tick(3601.0)).rates[-1].value == 5


def test_a_frame_that_repeats_the_one_before_is_looked_at_where_another_gpu_stands() -> None:
    log = still(still(Observations(), 1.0), 2.0)
    other = Gpu(uuid="GPU-other", bdf=gpu("n1").bdf)
    log.fault("n1", 3.0, 94, of=other)  # the kernel knows first
    for at_s in (4.0, 5.0, 6.0):
        log.frame("n1", at_s, {ECC_SBE_VOLATILE: 5.0}, gpus=[other])
    still(still(log, 7.0), 8.0)
    for batch in (1, 2, 100):
        assert in_batches(log.records, batch, restored=False) == one_by_one(log.records)


# --- which signals are asked at once -----------------------------------------------------------------------------


class Once(Signal):
    """Remembers the hottest sample above 90 degrees; notes how many samples each call holds."""

    name = "once"
    fields = (GPU_TEMP,)
    columns = {"hottest": Column("f8", fill=90.0)}
    quantity = "hottest_c"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=90.0)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
        self.calls.append(len(wave.ts))
        state.hottest = np.fmax(state.hottest, wave[GPU_TEMP])
        out.judge(policy.limits.classes(state.hottest), hottest_c=state.hottest)


def frame(log: Observations, at_s: float, *hot: int) -> Observations:
    """Five ticks of ten GPUs, of which some are hot at the fourth."""
    values = [95 if tick == 3 and at in hot else 50 for tick in range(5) for at in range(10)]
    return log.frame("n1", at_s, {GPU_TEMP: values}, gpus=10, ticks_s=[at_s + tick for tick in range(5)])


def test_a_signal_at_rest_is_asked_once_a_frame_and_again_about_those_that_are_not() -> None:
    signal = Once()
    task = NodeTask(signals=(signal,))
    log = frame(frame(frame(Observations(), 1.0), 6.0), 11.0, 3, 7)
    judge(log.records[:1], task)
    assert signal.calls == [50, *[10] * 5]  # the first word is news
    task.judges.rounds._busy = [0]  # so much of it that it would not be asked at once for a while
    signal.calls.clear()
    judge(log.records[1:2], task)
    assert signal.calls == [50]
    signal.calls.clear()
    judge(log.records[2:], task)
    assert signal.calls == [50, *[2] * 5]
    assert task.judges.tables[0].columns["hottest"][:10].tolist() == [95 if at in (3, 7) else 90 for at in range(10)]
    since = task.judges.board.findings["since"][0, [3, 7]]
    assert (since == log.records[2].ts + 3000).all()  # evidence of its own tick


class Level(LatestLevel):
    """Retired pages, as they stand."""

    name = "level"
    fields = (RETIRED_SBE,)
    quantity = "pages_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=100.0)


class OwnLevel(Level):
    """Has its own mind of each change: what the base class does for speed is not for it."""

    name = "own_level"

    def on_change(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
        super().on_change(wave, state, policy, out)


@pytest.mark.parametrize(("signal_class", "changes"), [(Level, 0), (OwnLevel, 3)])
def test_who_overrides_on_change_alone_is_called_at_every_change(signal_class: type[Level], changes: int) -> None:
    seen = 0
    original = signal_class.on_change

    def on_change(self: Level, *given: Any) -> None:
        nonlocal seen
        seen += 1
        original(self, *given)

    task = NodeTask(signals=(signal_class(),))
    log = Observations().frame("n1", 1.0, {RETIRED_SBE: 1})
    log.frame("n1", 4.0, {RETIRED_SBE: [1, 2, 3, 4]}, gpus=1, ticks_s=[2.0, 2.5, 3.0, 4.0])
    judge(log.records[:1], task)
    with mock.patch.object(signal_class, "on_change", on_change):
        judge(log.records[1:], task)
    assert seen == changes
    assert task.judges.tables[0].columns["value"][0] == 4.0


def test_a_block_view_knows_what_would_be_written_otherwise_to_the_bit() -> None:
    table = Table({"x": Column("f8"), "n": Column("i1")}, 3)
    table.columns["x"][:] = [np.nan, 0.0, 1.0]
    view = BlockView(table.view(np.arange(3)), 2)
    assert view.n.tolist() == [0] * 6
    nobody = np.zeros(3, bool)
    view.x = np.array([np.nan, 0.0, 1.0] * 2)
    assert view.written(nobody).tolist() == [False, False, False]
    view.x = np.array([np.nan, 0.0, 1.0, np.nan, -0.0, 1.0])
    assert view.written(nobody).tolist() == [False, True, False]
    view.n = 0
    view.x = np.array([np.nan, 0.0, 1.0, 2.0, 0.0, 1.0])
    assert view.written(np.array([False, False, True])).tolist() == [True, True, True]
    assert np.array_equal(table.columns["x"], [np.nan, 0.0, 1.0], equal_nan=True)


# --- windows -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4]))
def test_what_a_window_foresees_comes_true(seed: int, slots: int) -> None:
    draw = Random(seed)
    window = RateWindow("errors", slots=slots, slot_s=10)
    once, each = Table(window.columns, 4), Table(window.columns, 4)
    start = 1_000_000
    for _ in range(8):
        start += draw.choice((0, 5_000, 30_000, 80_000))
        ticks = draw.choice((1, 3, 5))
        ts = start + np.cumsum([[draw.choice((500, 1000, 4000)) for _ in range(4)] for _ in range(ticks)], axis=0)
        start = int(ts.max())
        moved = np.array([[draw.random() < 0.7 for _ in range(4)] for _ in range(ticks)])
        moved[draw.randrange(ticks)] = True
        counts = np.where(moved, [[draw.choice((0.0, 1.0, 2.0, 2.0**31)) for _ in range(4)] for _ in range(ticks)], 0.0)
        foreseen = window.foresee(once.view(np.arange(4)), ts, counts, moved)
        sums = np.full(moved.shape, -1.0)
        for tick in range(ticks):
            for table, rows in ((each, moved[tick]), (once, moved[tick] & ~foreseen.simple)):
                at = np.flatnonzero(rows)
                found = window.add(table.view(at), ts[tick, at], counts[tick, at])
                sums[tick, at] = found if table is each else sums[tick, at]
        window.take(once.view(np.arange(4)), foreseen, foreseen.simple)
        assert once.save(4) == each.save(4)
        for at in np.flatnonzero(foreseen.simple).tolist():
            known = sums[moved[:, at], at]
            assert foreseen.bounds[:, at].min() <= known.min() <= known.max() <= foreseen.bounds[:, at].max()
            assert foreseen.sums[at] == known[-1]
