"""What comes from outside: commands to nodes and their results, words of operators and schedulers, policy, time."""

from __future__ import annotations

from typing import Any

from schemas.records.base import Observation, Record


class Command(Record, kw_only=True, tag_field="kind", tag="command"):
    """What a node shall do; on `commands`, under the node's name. `id` names it in its result.

    action: "reset", "diagnose" (parameters: `level`) or "cancel" (parameters: `command`, the id of another one that
    has not started). boot: only during this boot of the machine. sequence: rises with each command to the node; the
    time in ms will do. expires: ms, not after that. author: who wants it. case: the incident that it belongs to.
    signature: Ed25519 by the key `key_id`, base64, over `schemas.commands.to_sign`.
    """

    id: str
    action: str
    uuid: str = ""
    bdf: str = ""
    boot: str = ""
    sequence: int = 0
    expires: int = 0
    parameters: dict[str, int | str] = {}
    author: str = ""
    case: str = ""
    key_id: str = ""
    signature: str = ""


class CommandResult(Observation, kw_only=True, tag_field="kind", tag="command-result"):
    """What became of a command; said again after a crash: equal `id` and `state` are the same word.

    state: "refused" (nothing was done; `reason` says why in one word, `detail` in many), "dry-run" (it would have been
    done), "started" (something runs), and then one of "done", "failed", "indeterminate" (the agent died in the middle:
    look before you say it again; it comes alone where nothing was said of a start); "cancelled" before it started.
    id, action: the command's own; empty where it could not be read. case: whose step it is. started: ms.
    exit_status: of the tool that was run. output: the end of what it printed.
    """

    id: str
    action: str
    state: str
    detail: str = ""
    reason: str = ""
    uuid: str = ""
    bdf: str = ""
    sequence: int = 0
    case: str = ""
    author: str = ""
    started: int = 0
    exit_status: int | None = None
    output: str = ""


class Operator(Record, kw_only=True, tag_field="kind", tag="operator"):
    """An operator's word on one GPU, or on all of its node where neither uuid nor bdf is given.

    action: one of `schemas.operators.ACTIONS`. node: "" where it is on more than one node: on a `rack`, or on all of
    the cluster. until: ms; of what ends by itself. weight: of "override". author: who says so.
    signature: Ed25519 by the key `key_id`, base64, over `schemas.operators.to_sign`; `ts` and `id` tell words apart.
    """

    action: str
    uuid: str = ""
    bdf: str = ""
    rack: str = ""
    until: int = 0
    weight: float | None = None
    author: str = ""
    note: str = ""
    id: str = ""
    key_id: str = ""
    signature: str = ""


class Serving(Observation, kw_only=True, tag_field="kind", tag="serving"):
    """What a scheduler says of a GPU that it was asked to take out or to put back (`Eviction.step.wanted`).

    scheduler: the adapter's name. state: what it does with the GPU now: "serving" (new work may come), "drained" (none
    comes), "removed"; "unknown" where the scheduler cannot be asked, or does not know the GPU (`detail` says why).
    in_flight: requests or jobs that still run there; None = cannot be told. case: `opened` of the case it answers.
    """

    uuid: str = ""
    bdf: str = ""
    scheduler: str
    state: str
    in_flight: int | None = None
    case: int = 0
    detail: str = ""


class Revalidated(Observation, kw_only=True, tag_field="kind", tag="revalidated"):
    """The answer to a `Revalidation` (same GPU and `detected`): its outputs of that time have been checked again.

    result: "clean", "corrupt" or "unknown" (they cannot be checked any more). checked: how many outputs.
    wrong: how many of them. end: the `end` of the record that is answered; later evidence needs another answer.
    """

    uuid: str = ""
    bdf: str = ""
    detected: int
    end: int
    result: str
    checked: int = 0
    wrong: int = 0
    author: str = ""
    note: str = ""


class Placement(Record, kw_only=True, tag_field="kind", tag="placement"):
    """A tensor-parallel group as a scheduler has placed it: UUIDs in the order of their ranks; none = dissolved.

    Keyed by any node of the group's. namespace: whose job it is.
    """

    group: str
    gpus: list[str]
    model: str = ""
    namespace: str = ""


class PolicyChange(Record, kw_only=True, tag_field="kind", tag="policy"):
    """From this position on, this policy. One copy per partition with the same `id`; `document` is complete."""

    node: str = ""
    id: str
    document: dict[str, Any]


class Tick(Record, kw_only=True, tag_field="kind", tag="tick"):
    """Nothing but the time: appended while nothing else is, so that timers fire.

    counts: on `fleet-events`, what the node stage has dropped or corrected so far (duplicates, clock steps ...).
    """

    node: str = ""
    counts: dict[str, int] = {}
