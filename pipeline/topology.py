"""The whole system on one screen: the stages, what each reads and what it writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from processors.cluster import ClusterTask
from processors.node import NodeTask
from processors.task import Task
from schemas import topics
from schemas.log import Part


class Stage(NamedTuple):
    """One input log, one task a partition; nothing else reaches it. make: a fresh task of a partition; it may be
    told how many there are (`partitions`).
    """

    name: str
    input: str
    outputs: tuple[str, ...]
    make: Callable[..., Task]

    def part(self, partition: int = 0) -> Part:
        return Part(self.name, self.input, partition)

    def among(self, partitions: int) -> Stage:
        """The stage where its input is spread over so many: its tasks refuse what belongs elsewhere."""
        spread = topics.TOPICS[self.input].spread
        return self._replace(make=partial(self.make, partitions=partitions)) if spread else self


#   sources -> observations -> NODE -> fleet-events -> CLUSTER -> decisions -> sinks
STAGES = (
    Stage(
        name="node",
        input=topics.OBSERVATIONS,
        outputs=(
            topics.XIDS,
            topics.INVENTORY,
            topics.RATES,
            topics.SCORES,
            topics.REVALIDATIONS,
            topics.REVALIDATED,
            topics.INCIDENTS,
            topics.PREDICTIONS,
            topics.FLEET_EVENTS,
            topics.DEAD_LETTER,
        ),
        make=NodeTask,
    ),
    Stage(
        name="cluster",
        input=topics.FLEET_EVENTS,
        outputs=(topics.DECISIONS, topics.EVICTIONS, topics.GROUPS, topics.BRAKES, topics.DEAD_LETTER),
        make=ClusterTask,
    ),
)
