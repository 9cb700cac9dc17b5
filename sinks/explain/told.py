"""Records of topics that a log may or may not have, reduced to what an explanation shows of them."""

from __future__ import annotations

import msgspec

from schemas.records import Gpu


class Evidence(msgspec.Struct, frozen=True):
    what: str
    first: int
    last: int
    gpu: Gpu = Gpu()
    count: int = 1
    text: str = ""
    raw: str = ""


class Incident(msgspec.Struct, frozen=True):
    """into: the incident that it turned out to be part of."""

    id: str
    state: str
    family: str
    root: str
    text: str
    opened: int
    node: str = ""
    gpus: list[Gpu] = []
    updated: int = 0
    resolved: int = 0
    count: int = 1
    reopened: int = 0
    corruption: bool = False
    into: str = ""
    evidence: list[Evidence] = []


class Prediction(msgspec.Struct, frozen=True):
    model: str
    action: str
    hours: float | None = None
    confidence: float = 0.0
    errors_per_hour: float | None = None
    text: str = ""


class Revalidation(msgspec.Struct, frozen=True):
    start: int
    end: int
    detected: int = 0
    since: str = ""
    confidence: str = ""
    repeat: bool = False


class Revalidated(msgspec.Struct, frozen=True):
    """The answer to a `Revalidation`, as far as `end`."""

    detected: int
    end: int
    result: str
    checked: int = 0
    wrong: int = 0
    author: str = ""

    @property
    def text(self) -> str:
        counted = f", {self.wrong} of {self.checked} outputs wrong" if self.checked else ""
        return f"{self.result}{counted}" + (f", by {self.author}" if self.author else "")


class Issue(msgspec.Struct, frozen=True):
    text: str = ""
    gpus: list[str] = []


class Blame(msgspec.Struct, frozen=True):
    gpus: list[str] = []


class GroupVerdict(msgspec.Struct, frozen=True):
    group: str
    gpus: list[str]
    condition: str
    action: str
    issues: list[Issue] = []
    blamed: list[Blame] = []


incident = msgspec.json.Decoder(Incident).decode
prediction = msgspec.json.Decoder(Prediction).decode
revalidation = msgspec.json.Decoder(Revalidation).decode
revalidated = msgspec.json.Decoder(Revalidated).decode
group = msgspec.json.Decoder(GroupVerdict).decode
