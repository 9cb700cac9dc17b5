"""Run the stages over recordings, as fast as they go, and hold what comes out against recorded digests."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from pathlib import Path

import msgspec

from pipeline.archive_log import BEFORE_ALL, ArchiveLog, Emit, Source, Start
from pipeline.recording_file import Recordings
from pipeline.runner import run_task
from pipeline.topology import STAGES, Stage
from processors.task import Task
from schemas import records, topics
from schemas.counts import counted
from schemas.log import Output, Part, Record
from schemas.recording import Digest, RunningDigest

Show = Callable[[bytes], object]


async def drive(inputs: Mapping[str, Iterable[Record]], emit: Emit, stages: Sequence[Stage] = STAGES) -> None:
    """Run all stages, one partition each, until `inputs` (topic to records) end.

    What they do not give flows from stage to stage. emit: is handed the outputs of each stage in order; which
    stage comes first is the same every time.
    """
    given = {stage.part(): inputs[stage.input] for stage in stages if stage.input in inputs}
    await drive_parts(given, emit, stages)


async def drive_parts(
    inputs: Mapping[Part, Source],
    emit: Emit,
    stages: Sequence[Stage] = STAGES,
    starts: Mapping[Part, Start] | None = None,
) -> dict[Part, Task]:
    """Run the parts that `inputs` names, and of each stage that it does not name the one part, fed by the others.

    starts: of parts that do not begin at the beginning. Returns the tasks as they are at the end.
    """
    by_name = {stage.name: stage for stage in stages}
    fed_stages = [stage for stage in stages if not any(part.stage == stage.name for part in inputs)]
    parts = [*inputs, *(stage.part() for stage in fed_stages)]
    fed = {stage.part(): [part for part in parts if stage.input in by_name[part.stage].outputs] for stage in fed_stages}
    log = ArchiveLog(inputs, fed, emit, starts)

    async def run(part: Part) -> Task:
        make = partial(by_name[part.stage].make, part.partition)
        task = await run_task(part, make, log, commit_s=0.0, checkpoint_s=math.inf)
        log.complete(part)
        return task

    runs = [asyncio.ensure_future(run(part)) for part in parts]
    try:
        return dict(zip(parts, await asyncio.gather(*runs), strict=True))
    finally:
        for unfinished in runs:  # one has failed: the others would wait for its outputs
            unfinished.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


@dataclass
class Replayed:
    """What a replay found. inputs: records of the recording, per stage. outputs: records, per topic.

    scores: the newest one of each GPU, as JSON. digests: how many there were to hold against; proved: outputs
    shown to be equal; differences: in words, the first of each stage. notes: what could not be read.
    """

    inputs: Counter[str] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    scores: dict[str, bytes] = field(default_factory=dict)
    digests: int = 0
    proved: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, stage: str, source: Iterable[Record]) -> Iterator[Record]:
        """`source`, counted as input of `stage`."""
        for record in source:
            self.inputs[stage] += 1
            yield record

    def take(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self.outputs[output.topic] += 1
            if output.topic == topics.SCORES:
                self.scores[output.key] = output.value


def replay(
    paths: Sequence[Path],
    *,
    policy: records.PolicyChange | None = None,
    verify: bool = False,
    show: Show | None = None,
    only: Collection[str] = (),
    stages: Sequence[Stage] = STAGES,
) -> Replayed:
    """Replay `paths`, one behind the other.

    policy: put in force before all else. verify: hold the outputs against the recorded digests, each stage
    over its own recorded input where there is one. show: is handed a line of JSON for each output on the
    topics `only` (none given: all). Raises UsageProblem where a recording cannot be read.
    """
    recordings = Recordings(paths)
    given, digests = recordings.contents() if verify else ({stages[0].name}, [])
    result = Replayed(inputs=Counter(dict.fromkeys(sorted(given), 0)))
    check = Check(digests)

    def source(stage: Stage) -> Iterator[Record]:
        found = recordings.records(stage.name)
        return result.count(stage.name, behind(policy, found) if policy and stage is stages[0] else found)

    def emit(part: Part, outputs: Sequence[Output]) -> None:
        check.add(part.stage, outputs)
        result.take(outputs)
        if show:
            for output in outputs:
                if not only or output.topic in only:
                    show(as_json(output))

    asyncio.run(drive({stage.input: source(stage) for stage in stages if stage.name in given}, emit, stages))
    check.finish()
    result.digests, result.proved, result.differences = len(digests), check.proved, check.differences
    result.notes = recordings.notes
    return result


def as_json(output: Output, part: Part | None = None) -> bytes:
    """The output as a line; its value as the JSON that it is, null where it removes its key.

    part: whose output it is, where there are several.
    """
    line = {
        "topic": output.topic,
        "key": output.key,
        "kind": output.kind,
        "ts": output.ts,
        **({"stage": part.stage, "partition": part.partition} if part else {}),
        "offset": output.offset,
        "ordinal": output.ordinal,
        "value": msgspec.Raw(output.value or b"null"),
    }
    return msgspec.json.encode(line) + b"\n"


def behind(policy: records.PolicyChange, source: Iterator[Record]) -> Iterator[Record]:
    """`source` behind the record that puts `policy` in force, at the time of its first record."""
    for first in source:
        yield in_force(msgspec.structs.replace(policy, ts=first.ts), first.ts, BEFORE_ALL)
        yield from chain([first], source)


def in_force(policy: records.PolicyChange, ts: int, offset: int) -> Record:
    """The record that puts `policy` in force. ts: its append time."""
    return Record(offset, ts, "", "policy", records.encode(policy))


class Check:
    """Holds outputs against digests, stage by stage."""

    def __init__(self, digests: Iterable[Digest]) -> None:
        self.proved = 0
        self.differences: list[str] = []
        by_place = sorted(digests, key=lambda digest: (digest.stage, digest.from_offset))
        self._waiting = {stage: list(found)[::-1] for stage, found in groupby(by_place, lambda digest: digest.stage)}
        self._running: dict[str, RunningDigest] = {}

    def add(self, stage: str, outputs: Iterable[Output]) -> None:
        waiting = self._waiting.get(stage, [])
        for output in outputs:
            while waiting and output.offset >= waiting[-1].next_offset:
                self._compare(stage)
            if waiting and output.offset >= waiting[-1].from_offset:
                self._current(stage).add(output.topic, output.key, output.kind, output.value, output.ts)

    def finish(self) -> None:
        for stage, waiting in self._waiting.items():
            while waiting:
                self._compare(stage)

    def _current(self, stage: str) -> RunningDigest:
        if stage not in self._running:
            self._running[stage] = RunningDigest(stage, self._waiting[stage][-1].from_offset)
        return self._running[stage]

    def _compare(self, stage: str) -> None:
        """The stage's current segment is complete. After the first difference the others prove nothing."""
        replayed = self._current(stage).digest(self._waiting[stage][-1].next_offset)
        recorded = self._waiting[stage].pop()
        del self._running[stage]
        if replayed == recorded:
            self.proved += recorded.outputs
            return
        self.differences.append(
            f"{stage}: what offsets {recorded.from_offset} to {recorded.next_offset - 1} caused differs: "
            f"{counted(recorded.outputs, 'output')} recorded, {replayed.outputs} replayed"
        )
        self._waiting[stage].clear()
