"""Speaking to an embedded pipeline through its socket, as a program of its own: nothing heavy is loaded for it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import UsageProblem
from pipeline.operators.place import short
from schemas.records import Operator

PATIENCE_S = 15.0


def now(directory: Path) -> tuple[int, str]:
    """(time by the pipeline's clock, ms; its cluster). Raises UsageProblem: no pipeline listens there."""
    told = _ask(directory, {"ask": "now"})
    return told["now"], told["cluster"]


def say(directory: Path, word: Operator) -> None:
    """Returns once it is recorded. Raises UsageProblem: it is refused, or no pipeline listens there."""
    _ask(directory, {"say": word})


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
