"""What policies are made of: thresholds and the scores they cap. Units stand in the names that use them."""

from __future__ import annotations

import math
from typing import Any

import msgspec


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one measured value; None (or inf) = no such step. A value beyond a limit is in that class.

    inclusive: a value equal to the limit is beyond it ("at least" instead of "more than").
    falling: lower values are worse (a margin to a limit instead of a temperature).
    """

    warning: float | None = None
    critical: float | None = None
    evict: float | None = None
    inclusive: bool = False
    falling: bool = False

    def __post_init__(self) -> None:
        for name in ("warning", "critical", "evict"):  # JSON has no infinity: one spelling for "never"
            if getattr(self, name) is not None and math.isinf(getattr(self, name)):
                msgspec.structs.force_setattr(self, name, None)
        steps = [step for step in (self.warning, self.critical, self.evict) if step is not None]
        if steps != sorted(steps, reverse=self.falling):
            order = "falling" if self.falling else "rising"
            raise ValueError(f"limits must be {order} from warning to critical to evict, not {steps}")

    def classes(self, values: Any) -> Any:
        """The class of each value: int8 array like `values`, -1 where it is NaN (no opinion)."""
        classes = (values == values).astype("i1")  # NaN differs from itself
        classes -= 1
        for level, limit in ((1, self.warning), (2, self.critical), (3, self.evict)):
            if limit is not None:
                beyond = self._beyond(values, limit)
                if not beyond.any():  # nor can any be beyond the next
                    break
                classes[beyond] = level
        return classes

    def limit(self, level: int) -> float | None:
        """The limit that opens class `level` (1 warning, 2 critical, 3 evict)."""
        return (None, self.warning, self.critical, self.evict)[level] if level > 0 else None

    def _beyond(self, values: Any, limit: float) -> Any:
        if self.falling:
            return values <= limit if self.inclusive else values < limit
        return values >= limit if self.inclusive else values > limit


class Caps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The highest score a GPU can have while a signal finds it in each class (0.0 dead ... 1.0 perfect)."""

    warning: float = 0.7
    critical: float = 0.3
    evict: float = 0.0

    def __post_init__(self) -> None:
        if not 1.0 >= self.warning >= self.critical >= self.evict >= 0.0:
            raise ValueError("caps must fall from warning to critical to evict, between 1.0 and 0.0")


def known(document: Any, type_: Any) -> Any:
    """`document` without what `type_` does not know: for states, which versions of the code hand to each other.

    What somebody says anew is held to every word.
    """
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct) and isinstance(document, dict)):
        return document
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(type_)}
    return {key: known(value, fields[key]) for key, value in document.items() if key in fields}
