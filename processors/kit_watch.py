"""A signal under watch: which of its hooks are called, and whether it says only what may be said."""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.judgement import Judgement
from processors.signal import Signal

HOOKS = ("on_samples", "on_change", "on_event", "on_report", "on_timer", "on_restore")


def watched(signal_class: type[Signal], called: set[str]) -> type[Signal]:
    """The signal, with its hooks noted in `called` and everything that it says checked."""

    def watch(hook: str) -> Any:
        original = getattr(signal_class, hook)

        def watching(self: Signal, *arguments: Any) -> None:
            called.add(hook)
            *others, out = arguments
            original(self, *others, _Checked(signal_class.name, out))

        return watching

    overridden = {hook: watch(hook) for hook in HOOKS if getattr(signal_class, hook) is not getattr(Signal, hook)}
    return type(signal_class.__name__, (signal_class,), overridden)


class _Checked:
    """`Out` that takes only what may be said."""

    def __init__(self, name: str, out: Judgement) -> None:
        self._name = name
        self._out = out

    def judge(self, classes: Any, *, where: Any = None, **said: Any) -> None:
        evidence = {key: value for key, value in said.items() if key not in ("action", "hard", "corruption", "anew")}
        size = self._out.size if where is None else len(where)
        given = np.asarray(classes)
        assert given.dtype.kind in "iu", f"{self._name}: classes are integers, not {given.dtype}"
        assert given.shape in ((), (size,)), f"{self._name}: {given.shape} classes for {size} GPUs"
        assert ((given >= -1) & (given <= 3)).all(), f"{self._name}: classes are -1 to 3, not {sorted(set(given.flat))}"
        if where is not None:
            rising = np.diff([-1, *where, self._out.size]) > 0
            assert rising.all(), f"{self._name}: `where` holds rising positions of GPUs at hand, not {where}"
        assert len(evidence) <= 1, f"{self._name}: one value to judge by, not {sorted(evidence)}"
        for key, value in evidence.items():
            assert np.shape(value) in ((), (size,)), f"{self._name}: {key} has {np.shape(value)} values for {size} GPUs"
        self._out.judge(classes, where=where, **said)
