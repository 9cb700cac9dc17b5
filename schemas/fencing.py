"""Whether a node may do what a command says: signed by a known key, meant for it, now, and for the first time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from schemas.commands import ACTIONS, CANCEL, DIAGNOSE, Keys, is_authentic
from schemas.records import Command

LIFE_MS_MAX = 3_600_000  # what is to be done later than an hour from now is decided anew then
SKEW_MS = 60_000  # by which clocks may differ
LEVELS = (1, 2, 3, 4)  # of `dcgmi diag -r`
NO_LIBRARY = "signatures cannot be checked: the package cryptography is not there; pip install 'gpu-vitals[commands]'"


class Refusal(NamedTuple):
    """reason: one word, to count by. text: the same for people."""

    reason: str
    text: str


class Here(NamedTuple):
    """What this node knows of itself. gpus: UUID -> PCI address, as the driver shows them now."""

    node: str
    cluster: str
    boot: str
    gpus: Mapping[str, str]


class Heard(NamedTuple):
    """What was heard before. sequence: the newest one. ids: of the commands that are remembered."""

    sequence: int
    ids: Collection[str]


def unauthentic(command: Command, keys: Keys, now_ms: int) -> Refusal | None:
    """Why nothing in the command can be believed; until this is None, nothing of it may be remembered."""
    if not command.signature:
        return Refusal("signature", "it is not signed")
    key = keys.get(command.key_id)
    if key is None:
        return Refusal("key", f"its key {command.key_id!r} is not among those this node knows: {_listed(keys)}")
    if key.expires is not None and now_ms >= key.expires:
        return Refusal("key", f"its key {command.key_id!r} has expired")
    try:
        authentic = is_authentic(command, key.public)
    except ImportError:
        return Refusal("signature", NO_LIBRARY)
    return None if authentic else Refusal("signature", f"its signature is not that of key {command.key_id!r}")


def elsewhere(command: Command, here: Here) -> Refusal | None:
    """Why an authentic command is not this node's."""
    if (command.cluster, command.node) != (here.cluster, here.node):
        meant = f"{command.node!r} of cluster {command.cluster!r}"
        return Refusal("node", f"it is for node {meant}; this is {here.node!r} of {here.cluster!r}")
    return None


def untimely(command: Command, now_ms: int) -> Refusal | None:
    """Why it may not be done at this time, be it said for the first time or not."""
    if command.ts > now_ms + SKEW_MS:
        return Refusal("clock", f"it was issued {_s(command.ts - now_ms)} from now: one of the two clocks is wrong")
    if command.expires <= 0:
        return Refusal("expiry", "it does not say when it expires")
    if command.expires - command.ts > LIFE_MS_MAX:
        lives = _s(command.expires - command.ts)
        return Refusal("expiry", f"it would live for {lives}; the longest is {_s(LIFE_MS_MAX)}")
    if now_ms >= command.expires:
        return Refusal("expired", f"it expired {_s(now_ms - command.expires)} ago")
    return None


def repeated(command: Command, heard: Heard, now_ms: int) -> Refusal | None:
    """Why it may not be done for what was heard before."""
    if command.id in heard.ids:
        return Refusal("repeated", "a command with this id was answered before")
    if command.sequence <= heard.sequence:
        return Refusal("sequence", f"its sequence {command.sequence} is not newer than {heard.sequence}")
    if command.sequence > now_ms + SKEW_MS:  # it would shut out all that come in order
        return Refusal("sequence", f"its sequence {command.sequence} is beyond the present time in ms")
    return None


def impossible(command: Command, here: Here) -> Refusal | None:
    """Why it cannot be done here, as things are now."""
    if not command.id:
        return Refusal("malformed", "it has no id")
    if command.action not in ACTIONS:
        return Refusal("action", f"this agent knows no command {command.action!r}; it knows {', '.join(ACTIONS)}")
    if command.action == CANCEL:
        whom = command.parameters.get("command")
        return None if isinstance(whom, str) and whom else Refusal("malformed", "it does not say which to cancel")
    if command.action == DIAGNOSE and command.parameters.get("level", 2) not in LEVELS:
        return Refusal("malformed", f"a diagnostic has level 1 to 4, not {command.parameters['level']!r}")
    if not command.uuid:
        return Refusal("gpu", "it names no GPU by its UUID")
    if not command.boot:
        return Refusal("boot", "it does not say during which boot of the machine it is meant")
    if command.boot != here.boot:
        return Refusal("boot", "the machine was started anew since, or cannot tell its boot id")
    if command.uuid not in here.gpus:
        return Refusal("gpu", f"there is no GPU {command.uuid} on this node now")
    if command.bdf and command.bdf != here.gpus[command.uuid]:
        return Refusal("gpu", f"{command.uuid} is at {here.gpus[command.uuid]} now, not at {command.bdf}")
    return None


def _listed(keys: Keys) -> str:
    return ", ".join(sorted(keys)) or "none"


def _s(ms: int) -> str:
    return f"{ms / 1000:g} s"
