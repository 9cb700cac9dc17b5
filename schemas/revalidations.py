"""The answers to `Revalidation`: what they may say, and which request each of them answers."""

from __future__ import annotations

from schemas.records import Revalidated, Revalidation

KIND = "revalidated"
CLEAN, CORRUPT, UNKNOWN = "clean", "corrupt", "unknown"
RESULTS = {
    CLEAN: "all outputs of that time are right",
    CORRUPT: "at least one is wrong",
    UNKNOWN: "they cannot be checked any more",
}


def answers(answer: Revalidated, asked: Revalidation) -> bool:
    """Whether it is an answer to this request: that of the same episode, and to no earlier evidence.

    Both are of one GPU, by key.
    """
    return answer.detected == asked.detected and answer.end >= asked.end


def fault(answer: Revalidated) -> str:
    """Why it cannot be meant, in words; empty: it can be."""
    if not (answer.uuid or answer.bdf):
        return "an answer needs the uuid or the bdf of its GPU, as the request has them"
    if answer.result not in RESULTS:
        return f"result {answer.result!r} is none of {', '.join(RESULTS)}"
    if not 0 <= answer.wrong <= answer.checked:
        return f"{answer.wrong} wrong of {answer.checked} checked outputs"
    if bool(answer.wrong) is not (answer.result == CORRUPT):
        return f"result {answer.result} with {answer.wrong} wrong outputs"
    return ""
