"""The contract of a signal as a check that everybody can run: `check_signal`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from processors.kit_declaration import check_declaration
from processors.kit_samples import NODE, REPORTS, Draw, Stream, values_of
from processors.kit_watch import HOOKS, watched
from processors.node import NodeTask
from processors.signal import Signal
from processors.testing import Observations, Said, Values, gpu, judge
from schemas.fields import FIELDS
from schemas.log import Checkpoint, Record
from schemas.records import Gpu

CODES = (31, 43, 45, 48, 63, 64, 79, 94, 119, 154, 999)
FRAME_S = 5
FRAMES = 12


def check_signal(signal_class: type[Signal], *, seed: int = 1) -> None:
    """Run the whole contract on a signal; AssertionError tells what it breaks.

    seed: of the samples it is tried with, which are plausible for its fields, now and then blank, with counters
    that restart.

    Checked: what it declares; blanks never make a GPU fine; however the same samples are cut into frames and
    batches, with `on_growth` or without, and wherever a checkpoint is taken and restored, it finds the same; other
    GPUs, and the GPU that stood in the slot before, have no influence; it judges by classes -1 to 3, one for each
    GPU at hand.
    """
    check_declaration(signal_class)
    story = _Story(signal_class, seed)
    story.check_hooks()
    story.check_blanks()
    story.check_growth()
    story.check_frames()
    story.check_batches()
    story.check_neighbours()
    story.check_replacement()


class _Story:
    """The same samples of some GPUs of one node, told in several ways."""

    def __init__(self, signal_class: type[Signal], seed: int) -> None:
        self.signal_class = signal_class
        self.name = signal_class.name
        self.fields = [FIELDS[field] for field in signal_class.fields]
        self.seed = seed

    def task(self) -> NodeTask:
        """The node stage with this one signal: without `presence` and `blanks`, which every GPU concerns."""
        return NodeTask(signals=(self.signal_class(),))

    def samples(self, gpus: int, seed: int) -> list[dict[int, Values]]:
        """Per second the columns of the frame: [gpu]."""
        draw = Draw(seed)
        streams = {(field.id, at): Stream(field, draw) for field in self.fields for at in range(gpus)}
        return [
            {field.id: [streams[field.id, at].value() for at in range(gpus)] for field in self.fields}
            for _ in range(FRAMES * FRAME_S)
        ]

    def told(
        self,
        samples: Sequence[dict[int, Values]],
        gpus: Sequence[Gpu],
        seed: int,
        *,
        frame_s: int = FRAME_S,
        into: Observations | None = None,
        start_s: float = 0.0,
    ) -> Observations:
        """The samples, five seconds published at once, as one frame or as several; with kernel faults between."""
        told, draw = into or Observations(), Draw(seed + 1)
        for start in range(0, len(samples), FRAME_S):
            append_s = start_s + start + FRAME_S
            for first in range(start, start + FRAME_S, frame_s):
                part = samples[first : min(first + frame_s, start + FRAME_S)]
                columns: dict[int, Values] = {
                    field.id: [value for second in part for value in values_of(second[field.id])]
                    for field in self.fields
                }
                ticks_s = [start_s + first + number for number in range(len(part))]
                told.frame(NODE, ticks_s[-1], columns, gpus=gpus, ticks_s=ticks_s, append_s=append_s)
            if draw.below(2):
                told.fault(NODE, append_s - 0.5, CODES[draw.below(len(CODES))], gpus[0], append_s=append_s)
            for type_ in self.signal_class.reads:
                if draw.below(2):
                    told.report(append_s, REPORTS[type_](draw, gpus))
            if draw.below(12) == 0:
                told.restore(NODE, append_s, gpus[0])
        end_s = start_s + len(samples)
        return told.ticks(end_s + FRAME_S, end_s + 40, FRAME_S)

    def usual(self, gpus: int = 3, seed: int | None = None) -> Observations:
        seed = self.seed if seed is None else seed
        return self.told(self.samples(gpus, seed), [gpu(NODE, at) for at in range(gpus)], seed)

    def findings(self, log: Observations) -> tuple[Said, dict[str, dict[str, Any]]]:
        """What is said, and by GPU all that the signal last found."""
        task = self.task()
        said = judge(log, task)
        return said, _findings(task)

    # --- the checks --------------------------------------------------------------------------------------------

    def check_hooks(self) -> None:
        """Its hooks are called, and say what may be said."""
        called: set[str] = set()
        task = NodeTask(signals=(watched(self.signal_class, called)(),))
        judge(self.usual(), task)
        judge(self.told(self.samples(1, self.seed), [gpu(NODE)], self.seed + 7), task)
        overridden = {hook for hook in HOOKS if getattr(self.signal_class, hook) is not getattr(Signal, hook)}
        missing = overridden - called - {"on_restore"}
        assert not missing, f"{self.name}: nothing leads to {sorted(missing)}; are its `fields` complete?"

    def check_blanks(self) -> None:
        if not self.fields:
            return
        samples = self.samples(2, self.seed)
        blank = {field.id: [None, None] for field in self.fields}
        gpus = [gpu(NODE, at) for at in range(2)]
        for after in (0, FRAME_S, 6 * FRAME_S):
            task = self.task()
            told = Observations()
            for second in range(after + 4 * FRAME_S):
                if second == after:
                    judge(told, task)
                    before = task.judges.board.level[0, :2].copy()
                    told = Observations()
                columns = samples[second] if second < after else blank
                told.frame(NODE, second, columns, gpus=gpus, seq=second)
            judge(told, task)
            level = task.judges.board.level[0, :2]
            if after == 0:
                assert (level == -1).all(), f"{self.name}: a GPU of which all is blank is in class {level.tolist()}"
            else:
                better = (level >= 0) & (level < before)
                assert not better.any(), f"{self.name}: blanks make {before.tolist()} {level.tolist()}"

    def check_frames(self) -> None:
        samples, gpus = self.samples(3, self.seed), [gpu(NODE, at) for at in range(3)]
        expected, found = self.findings(self.told(samples, gpus, self.seed))
        for frame_s in (1, 2):
            said, same = self.findings(self.told(samples, gpus, self.seed, frame_s=frame_s))
            how = f"{self.name}: the same samples, {frame_s} s to a frame instead of {FRAME_S}"
            assert same == found, f"{how}: {same} instead of {found}"
            assert said.conditions == expected.conditions, f"{how}: other conditions"

    def check_batches(self) -> None:
        log = self.usual().records
        task = self.task()
        outputs, state = task.step(log), task.checkpoint()
        for size, restored in ((1, False), (1, True), (3, False)):
            how = f"{self.name}: batches of {size}" + (", a checkpoint restored after each" if restored else "")
            said, end = self._in_batches(log, size, restored)
            assert said == outputs, f"{how}: other outputs"
            assert end == state, f"{how}: another state"

    def _in_batches(self, log: Sequence[Record], size: int, restored: bool) -> tuple[list[Any], Checkpoint]:
        task, said = self.task(), []
        for start in range(0, len(log), size):
            said += task.step(log[start : start + size])
            if restored:
                saved = task.checkpoint()
                task = self.task()
                task.restore(saved)
        return said, task.checkpoint()

    def check_growth(self) -> None:
        """The fast way finds what the plain one finds."""
        if self.signal_class.on_growth is Signal.on_growth:
            return
        gpus = [gpu(NODE, at) for at in range(3)]
        log = self.told(self.samples(3, self.seed), gpus, self.seed, frame_s=1).records
        fast, plain = self.task(), NodeTask(signals=(_without_growth(self.signal_class)(),))
        said, expected = fast.step(log), plain.step(log)
        assert said == expected, f"{self.name}: with on_growth other outputs than with on_change alone"
        assert fast.checkpoint() == plain.checkpoint(), f"{self.name}: with on_growth another state"

    def check_neighbours(self) -> None:
        samples = self.samples(1, self.seed)
        others = self.samples(3, self.seed + 5)
        together: list[dict[int, Values]] = [
            {field: [*values_of(own[field]), *values_of(other[field])] for field in own}
            for own, other in zip(samples, others, strict=True)
        ]
        _, alone = self.findings(self.told(samples, [gpu(NODE)], self.seed))
        _, among = self.findings(self.told(together, [gpu(NODE, at) for at in range(4)], self.seed))
        key = gpu(NODE).uuid
        assert among[key] == alone[key], f"{self.name}: other GPUs change {alone[key]} to {among[key]}"

    def check_replacement(self) -> None:
        """Another GPU in the slot starts with nothing of what was known of the one before."""
        before, after = gpu(NODE), Gpu(uuid="GPU-after", bdf=gpu(NODE).bdf)
        told = self.told(self.samples(1, self.seed), [before], self.seed)
        used = self.task()
        judge(told, used)
        start, start_s = len(told.records), FRAMES * FRAME_S + 100.0
        self.told(self.samples(1, self.seed + 3), [after], self.seed + 3, into=told, start_s=start_s)
        fresh = self.task()
        judge(told.records[start:], fresh)
        said = judge(told.records[start:], used)
        assert [gone.uuid for gone in said.gone] == [before.uuid]
        expected, found = _findings(fresh), _findings(used)
        assert found == expected, f"{self.name}: the GPU before leaves something behind: {found} instead of {expected}"


def _findings(task: NodeTask) -> dict[str, dict[str, Any]]:
    """By UUID all that the task's one signal keeps, and what it last found; as text, as NaN equals nothing."""
    board, table, roster = task.judges.board, task.judges.tables[0], task.roster
    kept = {name: array[0] for name, array in board.findings.items()}
    kept |= {f"column {name}": column for name, column in table.columns.items()}
    kept |= {f"column {name}": vector.T for name, vector in table.vectors.items()}
    return {
        uuid: {name: repr(array[row].tolist()) for name, array in kept.items()}
        for row, uuid in enumerate(roster.uuid_of)
    }


def _without_growth(signal_class: type[Signal]) -> type[Signal]:
    class Plain(signal_class):  # type: ignore[misc, valid-type]
        def on_change(self, *arguments: Any) -> None:  # overridden alone, so that `on_growth` is out of use
            super().on_change(*arguments)

    return Plain
