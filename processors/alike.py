"""The pairs of a group, those that are alike told once: 72 GPUs that are all well have one kind of pair, not 2,556."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from processors.links import Pair, Seen, one_domain, pair


class Pairs(NamedTuple):
    """Pairs that differ in nothing but their names: each of `ones` with each of `others`.

    first: the least of them by name, for all. ones, others: sorted; the same list where it is a kind among itself.
    """

    first: Pair
    ones: list[str]
    others: list[str]

    @property
    def number(self) -> int:
        size = len(self.ones)
        return size * (size - 1) // 2 if self.ones is self.others else size * len(self.others)

    @property
    def gpus(self) -> list[str]:
        return self.ones if self.ones is self.others else self.ones + self.others

    def edges(self) -> Iterator[tuple[str, str]]:
        if self.ones is self.others:
            return combinations(self.ones, 2)
        return ((one, other) if one < other else (other, one) for one in self.ones for other in self.others)


def pairs(seen: Mapping[str, Seen], measured: Mapping[tuple[str, str], float]) -> list[Pairs]:
    """All pairs of the GPUs in `seen`, each once. measured: (from, to) -> GB/s."""
    found = []
    kinds = _kinds(seen, measured)
    for at, ones in enumerate(kinds):
        if len(ones) > 1:
            found.append(Pairs(_first(ones[0], ones[1], seen, measured), ones, ones))
        for others in kinds[at + 1 :]:
            found.append(Pairs(_first(ones[0], others[0], seen, measured), ones, others))
    return found


def _first(one: str, other: str, seen: Mapping[str, Seen], measured: Mapping[tuple[str, str], float]) -> Pair:
    """Of the two directions the slower one counts."""
    both = [measured[way] for way in ((one, other), (other, one)) if way in measured] if measured else ()
    return pair(one, other, seen[one], seen[other], min(both, default=None))


def _kinds(seen: Mapping[str, Seen], measured: Mapping[tuple[str, str], float]) -> list[list[str]]:
    """The GPUs, those together that are one like the other in whatever `pair` looks at."""
    known = [each for each in seen.values() if each.product is not None]
    each_its_own = any(each.direct for each in known)  # what joins two is said by their names
    alone = {gpu for way in measured for gpu in way}
    together = one_domain(known)
    kinds: dict[Hashable, list[str]] = {}
    for gpu in sorted(seen):
        each = seen[gpu]
        kind: Hashable
        if each_its_own or gpu in alone:
            kind = gpu
        elif each.product is None:
            kind = None
        else:
            where = None if together else (each.links.node, each.links.rack)
            kind = (each.product.name, each.expected, each.links.up, where)
        kinds.setdefault(kind, []).append(gpu)
    return list(kinds.values())
