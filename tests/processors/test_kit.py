"""The kit for signals finds what is broken: one signal per guarantee, each of which breaks that one alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from processors.counting import CounterRate
from processors.kit import check_signal
from processors.signal import Signal, discover
from processors.state import Column, Table
from processors.windows import RateWindow
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP, UUID
from schemas.policy import Thresholds


class Sound(Signal):
    """Mean temperature so far."""

    name = "sound"
    fields = (GPU_TEMP,)
    columns = {"mean": Column("f8"), "count": Column("i8")}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=40.0, critical=60.0)

    def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
        known = ~np.isnan(wave[GPU_TEMP])
        state.count = state.count + known
        step = np.nan_to_num(wave[GPU_TEMP] - np.nan_to_num(state.mean)) / np.maximum(state.count, 1)
        state.mean = np.where(state.count > 0, np.nan_to_num(state.mean) + step, np.nan)
        out.judge(policy.limits.classes(np.where(known, state.mean, np.nan)), mean_c=state.mean)


class SoundRate(CounterRate):
    """A counter's rate."""

    name = "sound_rate"
    fields = (ECC_SBE_VOLATILE,)
    window = RateWindow("errors", slots=6, slot_s=10)
    quantity = "errors_per_minute"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=10.0)


@pytest.mark.parametrize("signal_class", [type(signal) for signal in discover()], ids=lambda found: found.name)
def test_every_signal_keeps_the_contract(signal_class: type[Signal]) -> None:
    check_signal(signal_class)


@pytest.mark.parametrize("signal_class", [Sound, SoundRate])
def test_a_sound_signal_passes_before_anybody_has_registered_it(signal_class: type[Signal]) -> None:
    check_signal(signal_class)


def test_the_kit_is_the_same_every_time() -> None:
    """And another seed gives other samples."""
    seen: list[list[float]] = []

    class Seeing(Sound):
        """Notes what it is shown."""

        def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
            super().on_samples(wave, state, policy, out)
            seen[-1] += np.nan_to_num(wave[GPU_TEMP]).tolist()

    for seed in (1, 1, 2):
        seen.append([])
        check_signal(Seeing, seed=seed)
    assert seen[0] == seen[1] != seen[2]


class Forgetful(Sound):
    """The first temperature ever, for ever."""

    def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
        state.mean = np.where(np.isnan(state.mean), wave[GPU_TEMP], state.mean)
        out.judge(np.where(np.isnan(wave[GPU_TEMP]), -1, 0), mean_c=state.mean)


# --- declarations ------------------------------------------------------------------------------------------------


class ThawedPolicy(msgspec.Struct, forbid_unknown_fields=True):
    pass


class LenientPolicy(msgspec.Struct, frozen=True):
    pass


class DemandingPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit_c: float


class WrongPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit_c: float = "hot"  # type: ignore[assignment]


BROKEN_DECLARATIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": "Hot GPU"}, "lower-case identifier"),
    ({"__doc__": None}, "docstring"),
    ({"fields": (7,)}, "no DCGM field"),
    ({"fields": (UUID,)}, "is text"),
    ({"columns": {"mean": "f8"}}, "columns are Columns"),
    ({"columns": {"history": Column("f8", cells=3600)}}, "28800 bytes of state"),
    ({"Policy": ThawedPolicy}, "frozen"),
    ({"Policy": LenientPolicy}, "forbids unknown"),
    ({"Policy": DemandingPolicy}, "has a default"),
    ({"Policy": WrongPolicy}, "limit_c|float"),
    ({"text": lambda self, *_: ""}, "says something"),
]


@pytest.mark.parametrize(("broken", "complaint"), BROKEN_DECLARATIONS, ids=[c for _, c in BROKEN_DECLARATIONS])
def test_a_broken_declaration(broken: dict[str, Any], complaint: str) -> None:
    signal_class = type("Broken", (Sound,), {"__doc__": "Something.", **broken})
    with pytest.raises((AssertionError, msgspec.ValidationError), match=complaint):
        check_signal(signal_class)


# --- behaviour ---------------------------------------------------------------------------------------------------


def blanks_as_zero(wave: Any, state: Any, policy: Any, out: Any) -> None:
    out.judge(policy.limits.classes(np.nan_to_num(wave[GPU_TEMP])), temperature_c=wave[GPU_TEMP])


def too_high_a_class(wave: Any, state: Any, policy: Any, out: Any) -> None:
    out.judge(np.where(wave[GPU_TEMP] > 60, 4, 0), temperature_c=wave[GPU_TEMP])


def classes_with_a_point(wave: Any, state: Any, policy: Any, out: Any) -> None:
    out.judge(np.where(wave[GPU_TEMP] > 60, 1.5, 0.0), temperature_c=wave[GPU_TEMP])


def one_class_too_few(wave: Any, state: Any, policy: Any, out: Any) -> None:
    out.judge(policy.limits.classes(wave[GPU_TEMP])[1:], temperature_c=wave[GPU_TEMP])


def two_values(wave: Any, state: Any, policy: Any, out: Any) -> None:
    out.judge(policy.limits.classes(wave[GPU_TEMP]), temperature_c=wave[GPU_TEMP], mean_c=state.mean)


def compared_with_the_others(wave: Any, state: Any, policy: Any, out: Any) -> None:
    hottest = wave[GPU_TEMP] == np.nanmax(np.append(wave[GPU_TEMP], -99.0))
    out.judge(np.where(np.isnan(wave[GPU_TEMP]), -1, np.where(hottest, 1, 0)), temperature_c=wave[GPU_TEMP])


BROKEN_BEHAVIOUR: list[tuple[Callable[..., None], str]] = [
    (blanks_as_zero, "of which all is blank is in class"),
    (too_high_a_class, "classes are -1 to 3"),
    (classes_with_a_point, "classes are integers"),
    (one_class_too_few, "classes for"),
    (two_values, "one value to judge by"),
    (compared_with_the_others, "the same samples"),
]


@pytest.mark.parametrize(("hook", "complaint"), BROKEN_BEHAVIOUR, ids=[hook.__name__ for hook, _ in BROKEN_BEHAVIOUR])
def test_broken_behaviour(hook: Callable[..., None], complaint: str) -> None:
    class Broken(Sound):
        """Something."""

        def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
            hook(wave, state, policy, out)

    with pytest.raises(AssertionError, match=complaint):
        check_signal(Broken)


def test_a_blank_that_mends() -> None:
    class Broken(Sound):
        """Once it was hot, a blank makes it fine."""

        def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
            temp = wave[GPU_TEMP]
            blank = np.isnan(temp) & (state.count > 0)
            state.count = state.count + ~np.isnan(temp)
            out.judge(np.where(blank, 0, np.where(np.isnan(temp), -1, 1)), temperature_c=temp)

    with pytest.raises(AssertionError, match="blanks make"):
        check_signal(Broken)


def test_samples_counted_by_frames() -> None:
    class Broken(Sound):
        """Takes the number of calls for the time."""

        calls = 0

        def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
            state.mean = np.where(wave.dt > 1.5, 0.0, np.nan_to_num(state.mean) + 1.0)
            self.calls += 1
            known = np.where(np.isnan(wave[GPU_TEMP]), -1, self.calls % 2)
            out.judge(known, mean_c=state.mean)

    with pytest.raises(AssertionError, match=r"the same samples|batches of"):
        check_signal(Broken)


def test_what_is_kept_outside_of_the_columns() -> None:
    class Broken(Sound):
        """Compares with the sample before, which no checkpoint holds."""

        def __init__(self) -> None:
            self.last: dict[int, Any] = {}

        def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
            temp = wave[GPU_TEMP]
            rises = temp > self.last.get(len(temp), np.full(len(temp), np.nan))
            self.last[len(temp)] = temp
            out.judge(np.where(np.isnan(temp), -1, np.where(rises, 1, 0)), temperature_c=temp)

    with pytest.raises(AssertionError, match=r"the same samples|a checkpoint restored after each"):
        check_signal(Broken)


def test_a_fast_way_that_finds_something_else() -> None:
    class Broken(SoundRate):
        """Takes no notice of what grows within a frame."""

        def on_growth(self, growth: Any, state: Any, policy: Any, trial: Any) -> None:
            trial.judge(np.zeros(trial.size, "i1"))

    with pytest.raises(AssertionError, match="with on_growth"):
        check_signal(Broken)


def test_what_is_left_of_the_gpu_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework that forgot to reset the row would be found."""
    reset = Table.reset
    monkeypatch.setattr(Table, "reset", lambda table, rows: reset(table, rows) if isinstance(rows, slice) else None)
    with pytest.raises(AssertionError, match="the GPU before leaves something behind"):
        check_signal(Forgetful)


def test_a_hook_that_nothing_calls() -> None:
    class Broken(Sound):
        """Waits for changes of a gauge."""

        def on_change(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
            raise NotImplementedError

    with pytest.raises(AssertionError, match="nothing leads to"):
        check_signal(Broken)
