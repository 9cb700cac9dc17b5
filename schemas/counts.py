"""Counts as people read them: `1 GPU`, `2 GPUs`."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`count` and its noun. many: the noun's plural where it is not `one` with an s; both may be several words."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
