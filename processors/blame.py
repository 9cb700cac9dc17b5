"""Whose fault slow pairs are: a GPU's, one link's, or that of what all of them share.

No result depends on the order in which GPUs or pairs are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from schemas.records import Blame

Edge = tuple[str, str]


def blame(bad: Iterable[Edge], good: Iterable[Sequence[str]], missing: Mapping[str, int | None]) -> list[Blame]:
    """Who is to blame for the pairs in `bad`, by connected parts of them, sorted.

    good: GPUs that are as they shall be with one another, two or more at a time. missing: how many links each GPU of
    the group lacks; None = not known.
    """
    fine = {gpu for gpus in good for gpu in gpus}
    least = min((count for count in missing.values() if count is not None), default=0)
    found: list[Blame] = []
    left = _parts(bad)
    while left:  # what one GPU's fault does not explain is somebody else's
        edges = left.pop()
        part = _part(edges, fine, missing, least)
        found += part
        blamed = {gpu for each in part for gpu in each.gpus}
        left += _parts(edge for edge in edges if blamed.isdisjoint(edge))
    return sorted(found, key=lambda each: (each.kind, each.gpus))


def _part(edges: list[Edge], fine: set[str], missing: Mapping[str, int | None], least: int) -> list[Blame]:
    gpus = sorted({gpu for edge in edges for gpu in edge})
    worse = [gpu for gpu in gpus if (missing.get(gpu) or 0) > least]
    if len(edges) == 1:
        lacks = [missing.get(gpu) for gpu in gpus]
        if None not in lacks and lacks[0] != lacks[1] and worse:
            worst = max(worse, key=lambda gpu: missing.get(gpu) or 0)
            return [_gpu(worst, _fewer(worst, missing))]
        return [Blame(kind="link", gpus=gpus, why="only this pair is slow, and both ends show it alike")]
    centres = [gpu for gpu in gpus if all(gpu in edge for edge in edges)]
    if centres:
        return [_gpu(centres[0], f"all {len(edges)} slow pairs have it as an end")]
    if worse:
        return [_gpu(gpu, _fewer(gpu, missing)) for gpu in worse]
    slow_with_all = [gpu for gpu in gpus if gpu not in fine]
    if slow_with_all and fine:
        return [_gpu(gpu, "every pair of it is slow, while others are not") for gpu in slow_with_all]
    return [Blame(kind="fabric", gpus=gpus, why="all of them are slow alike: switches, or what they all depend on")]


def _gpu(gpu: str, why: str) -> Blame:
    return Blame(kind="gpu", gpus=[gpu], why=why)


def _fewer(gpu: str, missing: Mapping[str, int | None]) -> str:
    return f"{missing.get(gpu)} of its NVLinks are not up, more than others lack"


def _parts(edges: Iterable[Edge]) -> list[list[Edge]]:
    """The edges, those together that hang together."""
    ordered = sorted(edges)
    root: dict[str, str] = {gpu: gpu for edge in ordered for gpu in edge}
    for a, b in ordered:
        root[_root(b, root)] = _root(a, root)
    parts: dict[str, list[Edge]] = {}
    for edge in ordered:
        parts.setdefault(_root(edge[0], root), []).append(edge)
    return list(parts.values())


def _root(gpu: str, root: dict[str, str]) -> str:
    """What stands for all that hangs together with it; shortens the way there."""
    while root[gpu] != gpu:
        root[gpu] = gpu = root[root[gpu]]
    return gpu
