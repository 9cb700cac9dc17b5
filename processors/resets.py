"""When a GPU of a node was last reset by its agent, which lets go of all GPUs meanwhile and so says nothing of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.commands import RESET
from schemas.records import CommandResult

Array = npt.NDArray[Any]

NEVER = -1
STARTED = "started"
FINAL = ("done", "failed", "indeterminate")
LETTING_GO_S = 30.0  # before it says "started" an agent's sources let go, and it looks who uses the GPU; not longer
KEPT_MS = 86_400_000


class Reset(NamedTuple):
    """id: of the command. began, over: credited ms; over is NEVER while no result is known."""

    id: str
    began: int
    over: int = NEVER


class Resets:
    """The reset of each node that may explain its silence: the first one that began after the node had spoken, at most
    `LETTING_GO_S` later.

    Words that are said again change nothing, nor do results of commands that have not started here.
    """

    def __init__(self) -> None:
        self._of: dict[str, Reset] = {}

    def take(self, result: CommandResult, when: int, heard: int) -> None:
        """when: credited ms, at which it came to that. heard: of the node's newest frame, NEVER if there is none."""
        if result.action != RESET or when < 0:
            return
        known = self._of.get(result.node)
        ours = known is not None and known.id == result.id
        spoke = heard >= 0 and heard + 1000 * LETTING_GO_S >= when and (known is None or heard > known.began)
        if result.state == STARTED and not ours and spoke:
            self._of[result.node] = Reset(result.id, when)
        elif result.state in FINAL and known is not None and ours and known.over < 0:
            self._of[result.node] = known._replace(over=max(known.began, when))

    def columns(self, numbers: Mapping[str, int], nodes: Array, credit_ms: int) -> dict[str, Array]:
        """`reset_began` and `reset_over` of each row. numbers: of nodes. nodes: the number of each row's node."""
        began = np.full(len(numbers), NEVER, "i8")
        over = began.copy()
        for node, reset in list(self._of.items()):
            if credit_ms - reset.began > KEPT_MS:
                del self._of[node]
            elif node in numbers:
                began[numbers[node]], over[numbers[node]] = reset.began, reset.over
        return {"reset_began": began[nodes], "reset_over": over[nodes]}

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> list[Any]:
        return [[node, *reset] for node, reset in sorted(self._of.items())]

    def load(self, saved: list[Any]) -> None:
        self._of = {node: Reset(*reset) for node, *reset in saved}
