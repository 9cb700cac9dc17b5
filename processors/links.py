"""The NVLinks of GPUs, and what two of them have between them.

Two kinds of machine. Behind switches (HGX, NVL72) every link of a GPU leads to a switch: two GPUs reach each other
with as many links as the one with fewer has up. Without switches the links join GPUs directly, each to its own peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from schemas.all_reduce import pcie_gb_per_s
from schemas.products import Product, product
from schemas.records import GpuInfo, Inventory, LinkStatus

_STATES = {"up", "down", "disabled", "unsupported"}
_SPANNING = ("GB200", "GB300")  # products whose NVLink domain is a rack (NVL72), not a node


class GpuLinks(msgspec.Struct, omit_defaults=True):
    """What is known of one GPU's links.

    up: how many; None = nobody has said, which is never "all". told_ms: when that was said; changed_ms: when it was
    another number last, 0 = never. listed: UUID -> links that join it to that GPU directly, by its newest inventory;
    wired: the most that was ever listed, as a driver may list only those that are up.
    """

    node: str = ""
    rack: str = ""
    model: str = ""
    up: int | None = None
    told_ms: int = 0
    changed_ms: int = 0
    listed: dict[str, int] = {}
    wired: dict[str, int] = {}

    @property
    def product(self) -> Product | None:
        return product(self.model)

    @property
    def domain(self) -> str:
        """Its NVLink domain: the rack where the product's is one and its name is known, else the node."""
        known = self.product
        return self.rack if self.rack and known is not None and known.name in _SPANNING else self.node

    @property
    def direct(self) -> bool:
        """Its links lead to other GPUs. Some sources list all links for every GPU behind the same switches."""
        known = self.product
        total = sum(self.wired.values())
        return total > 0 and (known is None or total <= known.nvlinks)

    @property
    def expected(self) -> int | None:
        """How many links shall be up; None: the product is not known. Bridges only where somebody has fitted them."""
        known = self.product
        if known is None or not known.bridged:
            return None if known is None else known.nvlinks
        if self.direct:
            return sum(self.wired.values())
        return known.nvlinks if self.up else 0

    @property
    def missing(self) -> int | None:
        """How many of the expected links are not up; None: cannot be told."""
        expected = self.expected
        return None if expected is None or self.up is None else max(expected - self.up, 0)

    def take_inventory(self, inventory: Inventory, info: GpuInfo) -> bool:
        """Take in what an inventory says; returns whether that is new."""
        wired = dict(self.wired)
        for peer, count in info.peers.items():
            wired[peer] = max(count, wired.get(peer, 0))
        before = (self.node, self.rack, self.model, self.listed, self.wired)
        self.node, self.rack, self.model = inventory.node, inventory.rack, info.model or self.model
        self.listed, self.wired = dict(info.peers), wired
        return before != (self.node, self.rack, self.model, self.listed, self.wired)

    def take_status(self, links: LinkStatus) -> bool:
        """Take in the states of its links, the newest; returns whether the number of those that are up is new."""
        if links.ts < self.told_ms:
            return False
        up = None if set(links.links) - _STATES else links.links.count("up")  # a state that nobody knows may be either
        new = up != self.up
        if new and self.up is not None:
            self.changed_ms = links.ts
        self.up, self.told_ms, self.node = up, links.ts, self.node or links.node
        return new


class Seen(NamedTuple):
    """A GPU's links with what follows from them: worked out once, for all pairs that it is in."""

    links: GpuLinks
    product: Product | None
    direct: bool
    expected: int | None
    missing: int | None

    @classmethod
    def of(cls, links: GpuLinks) -> Seen:
        return cls(links, links.product, links.direct, links.expected, links.missing)


class Pair(NamedTuple):
    """What two GPUs have between them. a, b: UUIDs, a < b.

    kind: "nvlink", "pcie" (nothing else by design), "network" (on different machines, not in one NVLink domain), or
    "unknown". expected_gb_per_s, fallback_gb_per_s (PCIe): of a pair without a fault; 0.0 where that is not known.
    links: None = nobody has said. measured_gb_per_s: None = not lately.
    """

    a: str
    b: str
    kind: str
    expected_gb_per_s: float = 0.0
    fallback_gb_per_s: float = 0.0
    links: int | None = None
    links_expected: int = 0
    measured_gb_per_s: float | None = None
    scaled_from: str = ""

    @property
    def estimate_gb_per_s(self) -> float | None:
        """By its links; never less than PCIe, which they have besides."""
        if self.kind == "pcie":
            return self.expected_gb_per_s
        if self.links is None:
            return None
        return max(self.expected_gb_per_s * (self.links / self.links_expected), self.fallback_gb_per_s)

    @property
    def gb_per_s(self) -> float | None:
        """The measurement outranks the estimate."""
        return self.estimate_gb_per_s if self.measured_gb_per_s is None else self.measured_gb_per_s


def pair(a: str, b: str, one: Seen, other: Seen, measured_gb_per_s: float | None) -> Pair:
    """The pair of GPUs `a` and `b`, in whichever order they are given."""
    if b < a:
        a, b, one, other = b, a, other, one
    weaker, second = one.product, other.product
    if weaker is None or second is None:
        return Pair(a, b, "unknown", measured_gb_per_s=measured_gb_per_s)
    if not _together(one, other):
        return Pair(a, b, "network", measured_gb_per_s=measured_gb_per_s)
    if weaker is not second:
        weaker = min(weaker, second, key=lambda each: (each.nvlink_gb_per_s, each.name))
    fallback = pcie_gb_per_s(weaker)
    links, expected = _links(a, b, one, other)
    gb_per_s = expected * weaker.gb_per_s
    if gb_per_s <= fallback:
        return Pair(a, b, "pcie", fallback, fallback, measured_gb_per_s=measured_gb_per_s, scaled_from=weaker.name)
    return Pair(a, b, "nvlink", gb_per_s, fallback, links, expected, measured_gb_per_s, weaker.name)


def _links(a: str, b: str, one: Seen, other: Seen) -> tuple[int | None, int]:
    """(links between the two, None = cannot be told; how many there shall be)."""
    up, others_up = one.links.up, other.links.up
    if not (one.direct or other.direct):
        expected = min(one.expected or 0, other.expected or 0)
        return (None if up is None or others_up is None else min(up, others_up, expected)), expected
    expected = max(one.links.wired.get(b, 0), other.links.wired.get(a, 0))
    if up is None or others_up is None:
        return None, expected
    # Which peer a link that is down led to is not said: at most as many are lost here as both ends lack.
    lost = min(max(sum(each.wired.values()) - (each.up or 0), 0) for each in (one.links, other.links))
    for links, peer in ((one.links, b), (other.links, a)):
        if peer in links.wired:
            lost = max(lost, expected - links.listed.get(peer, 0))
    return max(expected - lost, 0), expected


def _together(one: Seen, other: Seen) -> bool:
    """In one NVLink domain: on one machine, or in one rack where the domain is the rack."""
    if one.links.node == other.links.node:
        return True
    if not (_spanning(one) and _spanning(other)):
        return False
    rack, others_rack = one.links.rack, other.links.rack
    return rack == others_rack or not rack or not others_rack


def one_domain(all_: Sequence[Seen]) -> bool:
    """Whether any two of them are together, whichever."""
    if len({each.links.node for each in all_}) <= 1:
        return True
    racks = {each.links.rack for each in all_} - {""}
    return len(racks) <= 1 and all(_spanning(each) for each in all_)


def _spanning(each: Seen) -> bool:
    return each.product is not None and each.product.name in _SPANNING
