"""What a case may wait for: the kinds by which `Eviction.waits` is counted and judged, read off its words."""

from __future__ import annotations

import re
from enum import StrEnum


class Wait(StrEnum):
    """`ACTIONS`: nothing is enabled that would go on by itself. `OTHER`: in words that no kind is known by."""

    ACTIONS = "actions"
    STORM = "storm"
    HOLD = "hold"
    BUDGET = "budget"
    COOL_DOWN = "cool-down"
    REVALIDATION = "revalidation"
    EVIDENCE = "evidence"
    OPERATOR = "operator"
    SCHEDULER = "scheduler"
    NODE = "node"
    OTHER = "other"

    @classmethod
    def of(cls, text: str) -> Wait | None:
        """The kind of wait that `text` tells of; None: there is none. The first kind that fits, as ordered here."""
        if not text:
            return None
        return next((kind for kind, words in _WORDS if words.search(text)), cls.OTHER)

    @property
    def ends_by_itself(self) -> bool:
        """Whether nobody has to come: it passes, or those it hangs on know already."""
        return self not in _FOR_PEOPLE


_FOR_PEOPLE = (Wait.ACTIONS, Wait.EVIDENCE, Wait.OPERATOR, Wait.OTHER)
_WORDS = [
    (kind, re.compile(rf"\b(?:{words})\b", re.IGNORECASE))
    for kind, words in (
        (Wait.ACTIONS, r"not enabled|disabled|dry[ -]run"),
        (Wait.STORM, r"storm"),
        (Wait.HOLD, r"hold|held"),
        (Wait.BUDGET, r"budgets?|maintenance window"),
        (Wait.COOL_DOWN, r"cool[ -]?down|cools?"),
        (Wait.REVALIDATION, r"revalidat\w+|checked again"),
        (Wait.EVIDENCE, r"evidence"),
        (Wait.OPERATOR, r"operators?|somebody|person"),
        (Wait.SCHEDULER, r"schedulers?|requests?|jobs?|in flight|traffic"),
        (Wait.NODE, r"node|commands?|orders?|agent|reset|diagnostic|diagnosis"),
    )
]
