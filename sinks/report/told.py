"""The records that a report reads, reduced to what it needs: a month of them is read in one go.

Topics that a log does not have simply say nothing. Vocabularies stay strings here: a word of a newer version is
counted under its own name.
"""

from __future__ import annotations

import msgspec

from schemas.records import Gpu


class Reason(msgspec.Struct, frozen=True):
    signal: str
    level: str


class Score(msgspec.Struct, frozen=True):
    node: str
    condition: str
    uuid: str = ""
    bdf: str = ""
    reasons: list[Reason] = []


class Decision(msgspec.Struct, frozen=True):
    node: str
    weight: float
    score: float
    state: str
    uuid: str = ""
    bdf: str = ""
    action: str = "none"
    held_by: str = ""
    cause: str = ""
    reasons: list[Cause] = []


class Cause(msgspec.Struct, frozen=True):
    signal: str = ""
    text: str = ""


class Xid(msgspec.Struct, frozen=True):
    """repeats: lines like this one that have no record of their own."""

    node: str
    fault: str
    code: int | None = None
    uuid: str = ""
    bdf: str = ""
    meaning: str = ""
    repeat: bool = False
    repeats: int = 0


class Incident(msgspec.Struct, frozen=True):
    """into: the incident that it turned out to be part of."""

    id: str
    state: str
    family: str
    root: str
    text: str
    opened: int
    node: str = ""
    resolved: int = 0
    gpus: list[Gpu] = []
    into: str = ""


class Prediction(msgspec.Struct, frozen=True):
    node: str
    action: str
    uuid: str = ""
    bdf: str = ""
    text: str = ""


class Inventory(msgspec.Struct, frozen=True):
    node: str
    gpus: list[GpuListed]
    driver: str = ""
    rack: str = ""


class GpuListed(msgspec.Struct, frozen=True):
    uuid: str
    bdf: str = ""
    model: str = ""


score = msgspec.json.Decoder(Score).decode
decision = msgspec.json.Decoder(Decision).decode
xid = msgspec.json.Decoder(Xid).decode
incident = msgspec.json.Decoder(Incident).decode
prediction = msgspec.json.Decoder(Prediction).decode
inventory = msgspec.json.Decoder(Inventory).decode
