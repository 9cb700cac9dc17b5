"""Slurm's lists of hosts: `a,n[1-3,07-09],r[1-2]n[0-1]`."""

from __future__ import annotations

import re

PIECE = re.compile(r"[^,\[\]]+|\[[0-9,-]+\]")
WHOLE = re.compile(r"(?:[^,\[\]\s]+|\[[0-9,-]+\])+(?:,(?:[^,\[\]\s]+|\[[0-9,-]+\])+)*")
RANGE = re.compile(r"(\d+)(?:-(\d+))?")
HOSTS_MAX = 1 << 20


def expand(text: str) -> list[str]:
    """The hosts, in the list's order. Raises ValueError: it is none, or one beyond HOSTS_MAX."""
    if not text:
        return []
    if not WHOLE.fullmatch(text):
        raise ValueError(f"not a list of hosts: {text[:80]!r}")
    hosts: list[str] = []
    for term in re.split(r",(?![^\[]*\])", text):
        hosts += _term(term)
        if len(hosts) > HOSTS_MAX:
            raise ValueError(f"more than {HOSTS_MAX} hosts: {text[:80]!r}")
    return hosts


def _term(term: str) -> list[str]:
    found = [""]
    for piece in PIECE.findall(term):
        numbers = _numbers(piece[1:-1]) if piece.startswith("[") else [piece]
        if len(found) * len(numbers) > HOSTS_MAX:
            raise ValueError(f"more than {HOSTS_MAX} hosts: {term[:80]!r}")
        found = [before + number for before in found for number in numbers]
    return found


def _numbers(text: str) -> list[str]:
    """Leading zeros give the width."""
    numbers: list[str] = []
    for part in text.split(","):
        bounds = RANGE.fullmatch(part)
        if bounds is None:
            raise ValueError(f"not a range of numbers: {part[:80]!r}")
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        if not first <= last <= first + HOSTS_MAX:
            raise ValueError(f"not a range of numbers: {part[:80]!r}")
        numbers += [f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1)]
    return numbers
