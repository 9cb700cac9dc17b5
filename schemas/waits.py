"""What a case may wait for: the kinds by which `Eviction.waits` is counted and judged, read off its words."""

from __future__ import annotations

import re
from enum import StrEnum


class Wait(StrEnum):
    """`ACTIONS`: nothing is enabled that would go on by itself. `OTHER`: in words that no kind is known by."""

    ACTIONS = "actions"
    REBOOT = "reboot"
    STORM = "storm"
    HOLD = "hold"
    BUDGET = "budget"
    PLANNED = "planned-work"
    COOL_DOWN = "cool-down"
    REVALIDATION = "revalidation"
    JUDGEMENT = "judgement"
    EVIDENCE = "evidence"
    REPLACEMENT = "replacement"
    OPERATOR = "operator"
    SCHEDULER = "scheduler"
    NODE = "node"
    OTHER = "other"

    @classmethod
    def of(cls, text: str) -> Wait | None:
        """The kind of wait that `text` tells of up to its first colon; None: there is none.

        Of several the first one, as ordered here: what passes by itself, before the operator who may cut it short.
        """
        if not text:
            return None
        what = text.partition(":")[0]
        return next((kind for kind, words in _WORDS if words.search(what)), cls.OTHER)

    @property
    def ends_by_itself(self) -> bool:
        """Whether nobody has to come: it passes, or those it hangs on know already."""
        return self not in _FOR_PEOPLE


_FOR_PEOPLE = (Wait.ACTIONS, Wait.REBOOT, Wait.EVIDENCE, Wait.REPLACEMENT, Wait.OPERATOR, Wait.OTHER)
_WORDS = [
    (kind, re.compile(rf"\b(?:{words})\b", re.IGNORECASE))
    for kind, words in (
        (Wait.ACTIONS, r"not enabled"),
        (Wait.REBOOT, r"has to be rebooted"),
        (Wait.STORM, r"storm"),
        (Wait.HOLD, r"hold|held"),
        (Wait.BUDGET, r"budgets?"),
        (Wait.PLANNED, r"planned work"),
        (Wait.COOL_DOWN, r"cool-down"),
        (Wait.REVALIDATION, r"revalidation|check of its outputs"),
        (Wait.JUDGEMENT, r"judgement"),
        (Wait.EVIDENCE, r"evidence"),
        (Wait.REPLACEMENT, r"replacement"),
        (Wait.OPERATOR, r"operator"),
        (Wait.SCHEDULER, r"scheduler|requests?|in flight"),
        (Wait.NODE, r"orders?|commands?|inventory"),
    )
]
