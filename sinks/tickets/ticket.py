"""What a ticket says, whatever keeps it. Times are ms since the epoch."""

from __future__ import annotations

import hashlib

import msgspec

CASE, PREDICTION = "case", "prediction"  # kinds
IN_SERVICE = "in-service"


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of what a ticket is made of: what is empty is left out of the JSON."""


class TicketGpu(Shown, frozen=True, kw_only=True):
    """A GPU that the ticket is about. state: of its case; bdf: its slot. planned: it only goes with its node.

    step: how far the workflow has come. waits: what the next step waits for. attempts: how often it was reset.
    """

    key: str
    node: str
    rack: str = ""
    bdf: str = ""
    uuid: str = ""
    model: str = ""
    serial: str = ""
    state: str = ""
    action: str = ""
    planned: bool = False
    step: str = ""
    waits: str = ""
    attempts: int = 0


class Line(Shown, frozen=True, kw_only=True):
    """One kind of fault, or one step of what was tried, at its first time. gpu: key, empty = of the node."""

    ts: int
    text: str
    what: str = ""
    gpu: str = ""
    count: int = 1
    raw: str = ""


class Advice(Shown, frozen=True, kw_only=True):
    """What NVIDIA's Xid catalogue says to do at once (immediate) and to find the cause (investigatory)."""

    code: int
    mnemonic: str = ""
    immediate: str = ""
    investigatory: str = ""


class Suggestion(Shown, frozen=True, kw_only=True):
    """The part that is likeliest at fault, and why."""

    part: str
    why: str


class Check(Shown, frozen=True, kw_only=True):
    """All that the GPU made from `start` (0: since ever) to `end` may be wrong.

    answer: what was found when it was checked again; result: in one word. Both are empty until then.
    """

    gpu: str
    start: int
    end: int
    confidence: str = ""
    answer: str = ""
    result: str = ""


class Ticket(Shown, frozen=True, kw_only=True):
    """id: of the incident, for good. is_open: a person is needed still. priority: 1 (now) to 4.

    closed_because: in words, once it is closed. root: kind of the first cause (`xid_48`). into: the incident that
    it turned out to be part of.
    """

    id: str
    kind: str = CASE
    cluster: str
    is_open: bool
    title: str
    fault: str
    family: str = ""
    root: str = ""
    action: str = ""
    priority: int = 3
    opened: int
    resolved: int = 0
    reopened: int = 0
    closed_because: str = ""
    into: str = ""
    gpus: list[TicketGpu] = []
    suggestion: Suggestion | None = None
    nvidia: list[Advice] = []
    evidence: list[Line] = []
    tried: list[Line] = []
    checks: list[Check] = []
    policy: str = ""

    @property
    def correlation(self) -> str:
        """The same as a name that every system takes: no spaces, 43 letters."""
        return correlation(self.id, self.cluster)

    @property
    def node(self) -> str:
        return self.gpus[0].node if self.gpus else ""

    @property
    def grave(self) -> tuple[bool, int, str, str]:
        """What may not wait when it changes."""
        return self.is_open, self.priority, self.action, self.into


def correlation(id: str, cluster: str) -> str:
    return f"gpu-vitals-{hashlib.sha256(f'{cluster} {id}'.encode()).hexdigest()[:32]}"


def digest(ticket: Ticket) -> str:
    """Equal for equal tickets only."""
    return hashlib.sha256(encode(ticket)).hexdigest()[:16]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Ticket).decode
