"""Speaking to an embedded pipeline through its socket, as a program of its own, and seeing in its log what follows."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import UsageProblem
from pipeline.operators.outcome import FOLLOWED, POLL_S, STAGE, Outcome, Trace
from pipeline.operators.place import short
from schemas.records import Operator

if TYPE_CHECKING:
    from pipeline.sqlite_history import SqliteHistory

PATIENCE_S = 15.0
EARLIER_MS = 10_000  # where a log looks for what came behind a word: its times need not rise


def now(directory: Path) -> tuple[int, str]:
    """(time by the pipeline's clock, ms; its cluster). Raises UsageProblem: no pipeline listens there."""
    told = _ask(directory, {"ask": "now"})
    return told["now"], told["cluster"]


def say(directory: Path, word: Operator) -> None:
    """Returns once it is recorded. Raises UsageProblem: it is refused, or no pipeline listens there."""
    _ask(directory, {"say": word})


def followed(directory: Path, trace: Trace, wait_s: float) -> Outcome:
    """Wait at most `wait_s` for what becomes of a word that was said. Never raises: where it cannot be seen, why."""
    from pipeline.sqlite_history import SqliteHistory

    try:
        return _followed(SqliteHistory(directory), trace, wait_s)
    except UsageProblem as problem:
        return Outcome(None, problem.text)


def _followed(history: SqliteHistory, trace: Trace, wait_s: float) -> Outcome:
    begin = history.since(FOLLOWED, trace.word.ts - EARLIER_MS)
    over = time.monotonic() + wait_s
    while time.monotonic() < over:
        if found := trace.outcome(history.news(begin, STAGE, trace.take)):
            return found
        time.sleep(POLL_S)
    return Outcome(None, "")


def _ask(directory: Path, what: dict[str, Any]) -> dict[str, Any]:
    try:
        with short(directory) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(PATIENCE_S)
            peer.connect(name)
            peer.sendall(msgspec.json.encode(what) + b"\n")
            with peer.makefile("rb") as answers:
                told: dict[str, Any] = msgspec.json.decode(answers.readline())
    except (OSError, msgspec.DecodeError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
        raise UsageProblem(
            f"{directory}: no pipeline listens there ({why.lower()})",
            "`gpu-vitals run` does, as this user, for as long as it runs; --bootstrap names a fleet on Kafka",
        ) from None
    if "refused" in told:
        raise UsageProblem(f"refused: {told['refused']}")
    return told
