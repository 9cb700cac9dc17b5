"""Run the stages over recordings, as fast as they go, and hold what comes out against recorded digests."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path

import msgspec

from pipeline.archive_log import BEFORE_ALL, ArchiveLog, Emit
from pipeline.recording_file import Recordings
from pipeline.runner import run_task
from pipeline.topology import STAGES, Stage
from schemas import records, topics
from schemas.log import Output, Part, Record
from schemas.recording import Digest, RunningDigest


async def drive(inputs: Mapping[str, Iterable[Record]], emit: Emit, stages: Sequence[Stage] = STAGES) -> None:
    """Run all stages until `inputs` (topic to records) end; what they do not give flows from stage to stage.

    emit: is handed the outputs of each stage in order; which stage comes first is the same every time.
    """
    log = ArchiveLog(inputs, {stage.input for stage in stages} - inputs.keys(), emit)

    async def run(stage: Stage) -> None:
        await run_task(stage.part(), stage.make, log, commit_s=0.0, checkpoint_s=math.inf)
        log.complete(stage.outputs)

    runs = [asyncio.ensure_future(run(stage)) for stage in stages]
    try:
        await asyncio.gather(*runs)
    finally:
        for unfinished in runs:  # one has failed: the others would wait for its outputs
            unfinished.cancel()


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


def replay(
    paths: Sequence[Path],
    *,
    policy: records.PolicyChange | None = None,
    verify: bool = False,
    show: Callable[[bytes], object] | None = None,
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

    def counted(stage: Stage) -> Iterator[Record]:
        source = recordings.records(stage.name)
        for record in _after(policy, source) if policy and stage is stages[0] else source:
            result.inputs[stage.name] += 1
            yield record

    def emit(part: Part, outputs: Sequence[Output]) -> None:
        check.add(part.stage, outputs)
        for output in outputs:
            result.outputs[output.topic] += 1
            if output.topic == topics.SCORES:
                result.scores[output.key] = output.value
            if show and (not only or output.topic in only):
                show(as_json(output))

    inputs = {stage.input: counted(stage) for stage in stages if stage.name in given}
    asyncio.run(drive(inputs, emit, stages))
    check.finish()
    result.digests, result.proved, result.differences = len(digests), check.proved, check.differences
    result.notes = recordings.notes
    return result


def as_json(output: Output) -> bytes:
    """The output as a line; its value as the JSON that it is, null where it removes its key."""
    line = {
        "topic": output.topic,
        "key": output.key,
        "kind": output.kind,
        "ts": output.ts,
        "offset": output.offset,
        "ordinal": output.ordinal,
        "value": msgspec.Raw(output.value or b"null"),
    }
    return msgspec.json.encode(line) + b"\n"


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
            f"{recorded.outputs} outputs recorded, {replayed.outputs} replayed"
        )
        self._waiting[stage].clear()


def _after(policy: records.PolicyChange, source: Iterator[Record]) -> Iterator[Record]:
    """`source` behind the record that puts `policy` in force, at the time of its first record."""
    for first in source:
        change = msgspec.structs.replace(policy, ts=first.ts)
        yield Record(BEFORE_ALL, first.ts, "", "policy", records.encode(change))
        yield from chain([first], source)
