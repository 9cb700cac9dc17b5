"""What a scheduler is told when it may not send work anywhere."""

from __future__ import annotations

from collections.abc import Mapping


class NoHealthyGpus(RuntimeError):
    """Nothing can be selected now: wait, or refuse the request; a later call may succeed.

    counts: the GPUs that weigh nothing, by what is known about them: the condition, the state of the case of one that
    is well by now, "never heard of" or "gone".
    """

    def __init__(self, why: str, counts: Mapping[str, int] | None = None) -> None:
        super().__init__(f"no healthy GPUs available: {why}")
        self.why = why
        self.counts = dict(counts or {})
