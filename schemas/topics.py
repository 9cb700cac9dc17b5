"""The topics: one declaration each, read by every log, by the documentation and by `tail`."""

from __future__ import annotations

import msgspec

PREFIX = "gpu-vitals."
DAY_S = 86_400


class Topic(msgspec.Struct, frozen=True):
    """name: without the prefix. key: what records are keyed by. retention_s: None = compacted, newest per key.

    spread: over as many partitions as the fleet needs, by key; else one partition holds all, in one order.
    appended: a record's time is that of its append, which the log sets; else that of what caused it.
    """

    name: str
    key: str
    retention_s: int | None
    about: str
    spread: bool = False
    appended: bool = False

    @property
    def compacted(self) -> bool:
        return self.retention_s is None

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


OBSERVATIONS = "observations"
XIDS = "xids"
INVENTORY = "inventory"
RATES = "rates"
SCORES = "scores"
REVALIDATIONS = "revalidations"
REVALIDATED = "revalidated"
INCIDENTS = "incidents"
PREDICTIONS = "predictions"
FLEET_EVENTS = "fleet-events"
DECISIONS = "decisions"
EVICTIONS = "evictions"
GROUPS = "groups"
BRAKES = "brakes"
COMMANDS = "commands"
DEAD_LETTER = "dead-letter"
CHECKPOINTS = "checkpoints"

MESSAGE_BYTES_MAX = 1 << 20  # of one record; larger ones are refused by the log

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            OBSERVATIONS,
            "node",
            7 * DAY_S,
            "all that a node says, in its own order; policy and ticks too",
            spread=True,
            appended=True,
        ),
        Topic(XIDS, "node", 30 * DAY_S, "classified Xid, SXid and bus-loss events, raw line kept"),
        Topic(INVENTORY, "node", None, "node to GPUs: UUID, BDF, model, serial, driver, boot id"),
        Topic(RATES, "gpu", 7 * DAY_S, "windowed error rates, on change of class and at a slow heartbeat"),
        Topic(SCORES, "gpu", None, "score, condition and reasons with their evidence"),
        Topic(REVALIDATIONS, "gpu", 30 * DAY_S, "outputs to check again: GPU, last known good, detection, evidence"),
        Topic(REVALIDATED, "gpu", 30 * DAY_S, "the answers: what was checked again, by whom, how many were wrong"),
        Topic(INCIDENTS, "incident", None, "related faults as one: root cause, GPUs, evidence, until it is over"),
        Topic(PREDICTIONS, "gpu", None, "what memory errors foretell: hours, confidence, recommended action"),
        Topic(FLEET_EVENTS, "cluster", 30 * DAY_S, "input of the cluster stage: conditions, operators, ticks"),
        Topic(DECISIONS, "gpu", None, "what schedulers read: weight, state, action, reasons, policy version"),
        Topic(EVICTIONS, "gpu", None, "the case of a GPU that is taken out: state, reason, since when"),
        Topic(
            GROUPS,
            "group",
            None,
            "the verdict on each tensor-parallel group: its worst pair, what that costs, whose fault",
        ),
        Topic(
            BRAKES, "cluster", None, "what holds changes back: storm, operators' words, budgets; what waits for them"
        ),
        Topic(COMMANDS, "node", 7 * DAY_S, "what nodes shall do: each agent takes its own, and says what became of it"),
        Topic(DEAD_LETTER, "source", 30 * DAY_S, "each record that could not be understood: bytes, where, why"),
    )
}

# Where Kafka keeps the stages' states. No record of ours: only the log itself reads it.
STATES = Topic(CHECKPOINTS, "stage/partition", None, "states of the stages, in pieces", spread=True)
