"""Outputs of a GPU that are to be checked again, with what was found when they were."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sinks.explain import told
from sinks.explain.model import RevalidationSeen

SHOWN = 20


def newest(asked: Mapping[int, RevalidationSeen], answers: Mapping[int, told.Revalidated]) -> list[RevalidationSeen]:
    """Both by `detected`. The newest first; an answer to less than the newest evidence is none."""
    ordered = sorted(asked.values(), key=lambda each: -each.ts)[:SHOWN]
    return [_with(each, answers.get(each.detected)) for each in ordered]


def _with(each: RevalidationSeen, answer: told.Revalidated | None) -> RevalidationSeen:
    if answer is None or answer.end < each.end:
        return each
    return msgspec.structs.replace(each, answer=answer.text)
