"""The storm hold: too many GPUs taken out within a while, or too many of which nothing is known, is hardly their fault.

A pure state machine on the stream clock. It begins at once, says why, and ends when it has been calmer for a while, or
by an operator's word; then it does not begin again for that while.
"""

from __future__ import annotations

import msgspec

from processors.brake_policy import StormPolicy


class StormSaved(msgspec.Struct):
    """What a checkpoint holds. wanted: when each GPU was last to be taken out, oldest first."""

    since_ms: int = 0
    why: str = ""
    over_ms: int = 0
    deaf_until_ms: int = 0
    wanted: list[tuple[str, int]] = []


class Storm:
    """since_ms: when it began, 0 = there is none. why: in words."""

    def __init__(self, policy: StormPolicy, saved: StormSaved | None = None) -> None:
        saved = saved or StormSaved()
        self.policy = policy
        self.since_ms, self.why = saved.since_ms, saved.why
        self._over_ms = saved.over_ms  # when it was last too much
        self._deaf_until_ms = saved.deaf_until_ms
        self._wanted: dict[str, int] = dict(saved.wanted)

    def save(self) -> StormSaved:
        return StormSaved(self.since_ms, self.why, self._over_ms, self._deaf_until_ms, list(self._wanted.items()))

    @property
    def active(self) -> bool:
        return self.since_ms > 0

    def want(self, gpu: str, now_ms: int) -> None:
        """It is taken out, or to be taken out."""
        self._wanted.pop(gpu, None)
        self._wanted[gpu] = now_ms

    def forget(self, gpu: str) -> None:
        self._wanted.pop(gpu, None)

    def look(self, now_ms: int, known: int, unknown: int) -> str:
        """Whether it begins or ends now; returns what to tell people of that, "" = nothing. known, unknown: GPUs."""
        self._expire(now_ms)
        why = self._too_much(known, unknown)
        if why:
            self._over_ms = now_ms
        if self.active:
            if why or now_ms - self._over_ms < 1000 * self.policy.quiet_s:
                return ""
            return self._end(f"storm is over: quiet for {self.policy.quiet_s:g} s")
        if not why or now_ms < self._deaf_until_ms:
            return ""
        self.since_ms, self.why = max(now_ms, 1), why
        return f"storm: {why}"

    def release(self, now_ms: int, by: str) -> str:
        """An operator ends it; returns what to tell people, "" = there is none."""
        if not self.active:
            return ""
        self._wanted.clear()
        self._deaf_until_ms = now_ms + round(1000 * self.policy.quiet_s)
        return self._end(f"storm is released by {by}")

    def _end(self, what: str) -> str:
        self.since_ms, self.why = 0, ""
        return what

    def _expire(self, now_ms: int) -> None:
        window_ms = 1000 * self.policy.window_s
        while self._wanted:
            gpu = next(iter(self._wanted))
            if now_ms - self._wanted[gpu] < window_ms:
                return
            del self._wanted[gpu]

    def _too_much(self, known: int, unknown: int) -> str:
        policy = self.policy
        if not policy.enabled:
            return ""
        most = max(policy.gpus_min, min(policy.gpus_max, int(policy.gpus_share * known + 1e-9)))
        if len(self._wanted) >= most:
            return f"{len(self._wanted)} of {known} GPUs to be taken out within {policy.window_s:g} s"
        if unknown >= max(policy.gpus_min, policy.unknown_share * known, 1):
            return f"nothing is known any more of {unknown} of {known} GPUs"
        return ""
