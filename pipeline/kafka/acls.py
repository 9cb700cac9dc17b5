"""What each role may do on Kafka, as the commands that grant it and nothing more.

`Read` and `Write` include `Describe`; writing to any topic includes doing so idempotently.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.kafka.settings import Kafka
from pipeline.topology import STAGES
from schemas.topics import (
    BRAKES,
    CHECKPOINTS,
    COMMANDS,
    DEAD_LETTER,
    DECISIONS,
    EVICTIONS,
    FLEET_EVENTS,
    GROUPS,
    INVENTORY,
    OBSERVATIONS,
    REVALIDATED,
    REVALIDATIONS,
    SCORES,
    TOPICS,
)

READ_BY_ANYBODY = (DECISIONS, SCORES, EVICTIONS, GROUPS, BRAKES, REVALIDATIONS, REVALIDATED)
SINK_GROUPS = "sink."
COMMANDER_GROUPS = "sink.commander"  # in which it notes of which records it has written dead letters
SCHEDULER_GROUPS = SINK_GROUPS + "scheduler"
READER_GROUPS = "reader-"


class Grant(NamedTuple):
    """operations: in Kafka's words. names: of topics, groups or transactional ids; prefixed: what they begin with."""

    operations: tuple[str, ...]
    resource: str
    names: tuple[str, ...]
    prefixed: bool = False


ROLES = {
    "agent": "publishes what its node says, and reads what it is told to do",
    "worker": "runs the stages; also `gpu-vitals topics check`",
    "sink": "tells the world: metrics, HTTP, webhooks; what it cannot deliver is a dead letter",
    "commander": "tells nodes what to do: `sink commander`, `commands send`; nodes believe its key, not its name",
    "revalidator": "checks outputs again, and says what it found: docs/revalidation.md",
    "scheduler": "`gpu-vitals sink scheduler`: reads cases, reports what the scheduler does with their GPUs",
    "operator": "speaks to the fleet: `gpu-vitals hold`, `drain` and so on, `cases`; signs where keys are declared",
    "reader": f"schedulers and dashboards: {', '.join(READ_BY_ANYBODY)}, in groups that begin with {READER_GROUPS!r}",
}


def grants(kafka: Kafka, role: str) -> Iterator[Grant]:
    """What `role`, one of `ROLES`, needs."""

    def topics(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(kafka.topic, dict.fromkeys(names)))

    if role == "agent":
        # It needs no group: how far it has read commands and its other sources stands in its spool.
        yield Grant(("Write",), "topic", topics([OBSERVATIONS, DEAD_LETTER]))
        yield Grant(("Read",), "topic", topics([COMMANDS]))
    elif role == "worker":
        written = [name for stage in STAGES for name in stage.outputs]
        yield Grant(("Read", "Write"), "topic", topics([*(stage.input for stage in STAGES), *written, CHECKPOINTS]))
        yield Grant(("Describe", "DescribeConfigs"), "topic", (kafka.prefix,), prefixed=True)
        yield Grant(("Read",), "group", (kafka.prefix,), prefixed=True)
        yield Grant(("Write", "Describe"), "transactional-id", (kafka.prefix,), prefixed=True)
    elif role == "sink":
        yield Grant(("Read",), "topic", topics(TOPICS))
        yield Grant(("Write",), "topic", topics([DEAD_LETTER]))
        yield Grant(("Read",), "group", (kafka.prefix + SINK_GROUPS,), prefixed=True)
    elif role == "commander":
        yield Grant(("Write",), "topic", topics([COMMANDS, DEAD_LETTER]))
        yield Grant(("Read",), "topic", topics([EVICTIONS, INVENTORY, OBSERVATIONS]))
        yield Grant(("Read",), "group", (kafka.prefix + COMMANDER_GROUPS,), prefixed=True)
    elif role == "revalidator":  # it needs no group: what has been answered stands on a topic
        yield Grant(("Write",), "topic", topics([OBSERVATIONS]))
        yield Grant(("Read",), "topic", topics([REVALIDATIONS, REVALIDATED]))
    elif role == "scheduler":
        yield Grant(("Read",), "topic", topics([EVICTIONS]))
        yield Grant(("Write",), "topic", topics([OBSERVATIONS, DEAD_LETTER]))
        yield Grant(("Read",), "group", (kafka.prefix + SCHEDULER_GROUPS,), prefixed=True)
    elif role == "operator":
        yield Grant(("Write",), "topic", topics([OBSERVATIONS]))
        yield Grant(("Read",), "topic", topics([INVENTORY, FLEET_EVENTS, DECISIONS, EVICTIONS, BRAKES, DEAD_LETTER]))
        yield Grant(("Describe",), "group", (kafka.group(STAGES[-1].name),))  # how far its words have been heard
    else:
        yield Grant(("Read",), "topic", topics(READ_BY_ANYBODY))
        yield Grant(("Read",), "group", (kafka.prefix + READER_GROUPS,), prefixed=True)


def commands(kafka: Kafka, role: str, principal: str, command_config: str | None = None) -> Iterator[str]:
    """The lines for a shell. command_config: file with which Kafka's tools connect."""
    for grant in grants(kafka, role):
        words = ["kafka-acls.sh", "--bootstrap-server", kafka.bootstrap]
        if command_config:
            words += ["--command-config", command_config]
        words += ["--add", "--allow-principal", principal]
        for operation in grant.operations:
            words += ["--operation", operation]
        for name in grant.names:
            words += [f"--{grant.resource}", name]
        if grant.prefixed:
            words += ["--resource-pattern-type", "prefixed"]
        yield shlex.join(words)
