"""A still of the live view of `make run`: the same fleet, stages and drawing, without the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from rich.console import Console

from pipeline import policies
from pipeline.archive_log import BEFORE_ALL
from pipeline.plan import plan
from pipeline.replay import drive
from pipeline.settings import Settings
from processors.policy import to_change
from producers.fleet import START_MS, Fleet
from producers.machine import Machine
from producers.simulator import SPEED
from schemas import records, topics
from schemas.log import Output, Part, Record
from sinks.console import ConsoleSink
from sinks.screen import draw
from sinks.view import Facts

GPUS = 64
WIDTH, HEIGHT = 110, 40


def still(seconds: int, lines: int) -> str:
    """The upper `lines` of the view after `seconds` of `make run`."""
    event_s = round(seconds * SPEED)
    policy = policies.load("default")
    console = Console(width=WIDTH, height=HEIGHT, no_color=True, legacy_windows=False, _environ={})
    what = plan(Settings(), look=lambda: Machine([], [])).what  # the same on every machine
    facts = Facts(what, policy.id, seconds, START_MS + 1000 * event_s)
    sink = ConsoleSink(lambda: facts, console)
    derived: list[Output] = []

    def keep(part: Part, outputs: Sequence[Output]) -> None:
        derived.extend(output for output in outputs if output.topic in sink.topics)

    change = records.encode(to_change(policy, START_MS))
    given = [Record(BEFORE_ALL, START_MS, "", "policy", change), *_said(event_s)]
    asyncio.run(drive({topics.OBSERVATIONS: given}, keep))
    for at, output in enumerate(derived):
        sink.view.take(output.topic, Record(at, output.ts, output.key, output.kind, output.value))
    shown = draw(sink.view, facts, console).plain.splitlines()
    return "\n".join(line.rstrip() for line in shown[:lines])


def _said(seconds: int) -> Iterator[Record]:
    """What the fleet says in its first `seconds`."""
    fleet, offset = Fleet(GPUS), 0
    for _ in range(seconds):
        for each in fleet.advance():
            yield Record(offset, each.ts or 0, each.node, each.kind, each.value)
            offset += 1
