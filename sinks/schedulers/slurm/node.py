"""Nodes as scontrol and slurmrestd tell of them, and how they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sinks.schedulers.adapter import Standing

PREFIX = "gpu-vitals: "  # of a reason: the node is out because of us
REASON_MAX = 250
DRAIN = "DRAIN"
DOWN = "DOWN"
OUT = frozenset({DRAIN, DOWN, "FAIL", "INVALID_REG"})  # nothing new starts there
BUSY = frozenset({"ALLOCATED", "MIXED"})
KNOWN = BUSY | {"IDLE", DOWN}  # states that say whether something runs there
UNHEARD = "NOT_RESPONDING"
COMPLETING = "COMPLETING"

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
WORDS_FOR_ALL = frozenset({"ALL", "DEFAULT", "NONE"})
LINE = re.compile(r"NodeName=(\S+) .*? State=(\S+) ")
# What people have written about the node stands behind the reason, and may look like anything.
WRITTEN = re.compile(r" (?:Comment|Extra)=")
REASON = re.compile(r" Reason=(.*?)(?: \[[^\[\]\s]*@[^\[\]\s]*\])?\s*$")
NOT_FOUND = re.compile(r"Node \S+ not found")


class Node(NamedTuple):
    """states: Slurm's words, as MIXED and DRAIN. reason: why somebody took it out, perhaps long ago."""

    name: str
    states: tuple[str, ...]
    reason: str

    @property
    def is_out(self) -> bool:
        return not OUT.isdisjoint(self.states)

    @property
    def is_down(self) -> bool:
        return DOWN in self.states

    @property
    def is_ours(self) -> bool:
        return DRAIN in self.states and self.reason.startswith(PREFIX)

    def standing(self, jobs: int) -> Standing:
        """jobs: that hold it, asked for after the node: what is drained gets no more of them."""
        said = "+".join(self.states) + (f": {self.reason}" if self.is_out and self.reason else "")
        if not self.is_out:
            usable = not KNOWN.isdisjoint(self.states)
            return Standing("serving" if usable else "unknown", jobs if usable else None, detail=said)
        if jobs:
            return Standing("drained", jobs, self.is_ours, said)
        if doubt := self._doubt():
            return Standing("drained", None, self.is_ours, f"{said}; {doubt}")
        return Standing("removed", 0, self.is_ours, said)

    def _doubt(self) -> str:
        """Why something may run there although no job is told of."""
        if UNHEARD in self.states:
            return "it does not answer: what runs there is not known"
        if COMPLETING in self.states:
            return "a job is completing"
        if not BUSY.isdisjoint(self.states):
            return "in use, but no job is shown to us: may we see the jobs of all users (PrivateData)?"
        if KNOWN.isdisjoint(self.states):
            return "Slurm does not know yet what runs there"
        return ""


def is_name(text: str) -> bool:
    """One node, and no option, list or word that Slurm takes for many."""
    return bool(NAME.fullmatch(text)) and text.upper() not in WORDS_FOR_ALL


def reason(note: str) -> str:
    """Ours, for a node that we drain: one line of printable characters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in note).split())
    return (PREFIX + words)[:REASON_MAX]


def from_lines(text: str) -> dict[str, Node]:
    """What `scontrol -o show node` prints. Raises ValueError."""
    found = {}
    for line in text.splitlines():
        if not line.strip() or NOT_FOUND.fullmatch(line.strip()):
            continue
        told = LINE.match(line)
        if told is None:
            raise ValueError(f"not a node: {line[:120]!r}")
        why = REASON.search(WRITTEN.split(line[told.end() - 1 :], maxsplit=1)[0])
        found[told[1]] = Node(told[1], _states(told[2].split("+")), why[1] if why else "")
    return found


def from_json(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Node]:
    """The `nodes` of `scontrol --json show node` and slurmrestd, from v0.0.39 on. Raises ValueError."""
    found = {}
    try:
        for told in nodes:
            if not isinstance(told["state"], list):
                raise ValueError("nodes of a form that is not known: state is no list")
            why = told.get("reason") or ""
            found[told["name"]] = Node(told["name"], _states(told["state"]), why)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"nodes of a form that is not known: {type(error).__name__}: {error}") from None
    return found


def _states(states: Iterable[str]) -> tuple[str, ...]:
    """`IDLE*` of releases before 21.08 does not answer, either."""
    words = [word.upper() for word in states]
    return tuple(word.rstrip("*") for word in words) + ((UNHEARD,) if any(word.endswith("*") for word in words) else ())
