"""Stories of one node, n1, whose GPUs are healthy until second `LAST`; and what is found in them."""

from __future__ import annotations

from processors.testing import START_MS, Observations, gpu, judge, ms
from schemas import records
from schemas.fields import GPU_TEMP, MEM_CLOCK

LAST = 20
GPU0 = gpu("n1", 0).uuid
Found = dict[tuple[str, str], int]


def alive(log: Observations, start_s: int, end_s: int, gpus: int = 2, *, node: str = "n1", epoch: int = 1) -> None:
    """Frames of healthy GPUs, the first of `gpus` left out where `gpus` is negative."""
    listed = [gpu(node, at) for at in range(2 if gpus < 0 else gpus)][1 if gpus < 0 else 0 :]
    for second in range(start_s, end_s + 1):
        log.frame(node, second, {GPU_TEMP: 50, MEM_CLOCK: 1500}, gpus=listed, epoch=epoch)


def begin() -> Observations:
    log = Observations().inventory("n1", 0, 2, boot="b1")
    alive(log, 1, LAST)
    return log


def status(log: Observations, at_s: float, state: str, source: str = "dcgm", cause: str = "", epoch: int = 1) -> None:
    log.report(at_s, records.SourceStatus(ts=0, node="n1", source=source, state=state, cause=cause), epoch=epoch)


def failing(log: Observations, start_s: int, end_s: int, source: str, cause: str) -> None:
    """The agent says so again and again, as a supervisor does."""
    for second in range(start_s, end_s + 1):
        log.tick(second)
        if (second - start_s) % 30 == 0:
            status(log, second, "failing", source, cause)


def word(log: Observations, at_s: float, action: str, until_s: float = 0.0, uuid: str = "") -> None:
    until = ms(until_s) if until_s else 0
    told = records.Operator(ts=ms(at_s), node="n1", action=action, uuid=uuid, until=until, author="ann")
    log.add(at_s, "n1", "operator", records.encode(told))


def found(log: Observations, key: str = GPU0) -> Found:
    """(signal, level) -> when it was first told, in seconds after `LAST`; and each condition."""
    told: Found = {}
    for score in judge(log).scores:
        if score.uuid != key:
            continue
        at_s = round((score.ts - START_MS) / 1000) - LAST
        told.setdefault(("", score.condition.value), at_s)
        for reason in score.reasons:
            told.setdefault((reason.signal, reason.level), at_s)
    return told
