"""What a log has kept, to be looked at: a data directory, Kafka, or recordings that are judged anew. Nothing is
written, nobody is disturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import zstandard

from pipeline import recording_file
from pipeline.recording_file import Recordings
from pipeline.replay import behind, drive
from pipeline.topology import STAGES
from schemas import records
from schemas.log import Output, Part, Record
from schemas.recording import TS_MAX
from schemas.topics import TOPICS

Take = Callable[[str, Record], None]


class Asked(NamedTuple):
    """Records of one topic. since: not those that are older, by append time. keys, kinds: only these; None = any."""

    topic: str
    since: int | None = None
    keys: frozenset[str] | None = None
    kinds: frozenset[str] | None = None

    def wants(self, record: Record) -> bool:
        return (
            (self.since is None or record.ts >= self.since)
            and (self.keys is None or record.key in self.keys)
            and (self.kinds is None or record.kind in self.kinds)
        )


class History(Protocol):
    """What has been kept. where: for people. notes: what it lacks, known once it has been read.

    heard_within: how far back `heard` looks, for people. forgets: retention and compaction have been at work.
    """

    where: str
    heard_within: str
    forgets: bool

    @property
    def notes(self) -> list[str]: ...

    def span(self, topics: Sequence[str]) -> tuple[int, int] | None:
        """Append times of the oldest and the newest record of `topics`, ms; None: there is none."""

    def read(self, asked: Sequence[Asked], take: Take) -> None:
        """Hands over what is asked for, of one topic in order; topics that are not there say nothing.

        Raises UsageProblem: it cannot be read.
        """

    def heard(self, node: str) -> int | None:
        """The append time of the newest observation of `node`, ms; a history that was read. None: there is none."""


class _TimeOnly(msgspec.Struct):
    ts: int = 0
    stage: str = "node"


class RecordedHistory:
    """Recordings, one behind the other: each `read` runs the stages over all of them. policy: judges them."""

    def __init__(self, paths: Sequence[Path], policy: records.PolicyChange) -> None:
        self.where = ", ".join(path.name for path in paths)
        self.heard_within = "in the recording"
        self.forgets = False
        self._paths = paths
        self._policy = policy
        self._recordings = Recordings(paths)
        self._heard: dict[str, int] = {}

    @property
    def notes(self) -> list[str]:
        return self._recordings.notes

    def span(self, topics: Sequence[str]) -> tuple[int, int] | None:
        """Of all input, whatever comes of it."""
        decode = msgspec.json.Decoder(_TimeOnly).decode
        first = last = 0
        for path in self._paths:
            try:
                for line, _ in recording_file.lines(path):
                    try:
                        read = decode(line)
                    except ValueError:  # judged, counted and told where it is read
                        continue
                    if 0 < read.ts < TS_MAX and read.stage == STAGES[0].name:
                        first = min(first or read.ts, read.ts)
                        last = max(last, read.ts)
            except (EOFError, zstandard.ZstdError):
                continue
        return (first, last) if last else None

    def read(self, asked: Sequence[Asked], take: Take) -> None:
        wanted: dict[str, list[Asked]] = {}
        for each in asked:
            wanted.setdefault(each.topic, []).append(each)
        numbers = dict.fromkeys(TOPICS, 0)

        def emit(part: Part, outputs: Sequence[Output]) -> None:
            for output in outputs:
                if output.topic in wanted:
                    number = numbers[output.topic]
                    numbers[output.topic] = number + 1
                    record = Record(number, output.ts, output.key, output.kind, output.value)
                    if any(each.wants(record) for each in wanted[output.topic]):
                        take(output.topic, record)

        source = behind(self._policy, self._listened())
        asyncio.run(drive({STAGES[0].input: source}, emit))

    def heard(self, node: str) -> int | None:
        return self._heard.get(node)

    def _listened(self) -> Iterator[Record]:
        for record in self._recordings.records(STAGES[0].name):
            if record.key:
                self._heard[record.key] = record.ts
            yield record
