"""What a signal is: one file in `processors/signals`, found by itself, that judges GPUs by one kind of evidence."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from processors.discovery import named_classes
from processors.state import Column, View
from schemas.records import KernelFault, Observation
from schemas.states import Action, Family
from schemas.xid import XidInfo

Array = npt.NDArray[Any]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Wave(Protocol):
    """Some GPUs, each at most once, at one tick each; all arrays are aligned with one another and with `state`.

    Arrays may be shared with other signals: they are not to be written to.
    """

    @property
    def ts(self) -> Array:
        """Node time of the sample, ms, int64."""
        ...

    @property
    def dt(self) -> Array:
        """Seconds since this signal's previous sample of the GPU, float64; NaN for the first. In `on_samples`."""
        ...

    def __getitem__(self, field: int) -> Array:
        """The values of a DCGM field, float64; NaN where blank or not sampled."""
        ...

    def increase(self, field: int) -> Array:
        """By how much a counter grew since its last value, restarts accounted for; NaN where blank, 0 at first."""
        ...


class Growth(Wave, Protocol):
    """A wave of all ticks of a frame, one after the other, [ticks x GPUs]; `state` is aligned with the GPUs."""

    @property
    def moved(self) -> Array:
        """[tick, GPU] whether a counter in the signal's `fields` moved."""
        ...


class Event(msgspec.Struct, frozen=True):
    """A kernel fault of one GPU. repeat: the same fault came less than the coalescing time ago.

    Repeats that say nothing new are not handed over. shared_since: it is one of several that came to GPUs of one job,
    the first of them at that stream clock (0: it is not); where that turns out later it comes again, as a repeat.
    """

    ts: int  # node time, ms
    clock_ms: int  # stream clock
    fault: KernelFault
    info: XidInfo
    repeat: bool
    shared_since: int = 0


class Report(msgspec.Struct, frozen=True):
    """A record of one of the types in a signal's `reads`.

    entry: [N] which of an inventory's `gpus` each of the GPUs at hand is, -1 = none; 0 where the record is of one GPU.
    releases: it is a passed diagnostic that by policy speaks for an operator: what tells of corruption is over.
    """

    ts: int  # node time, ms
    clock_ms: int  # stream clock
    record: Observation
    entry: Array
    releases: bool = False

    @property
    def named(self) -> Array:
        """[N] whether it names each of the GPUs at hand."""
        return np.asarray(self.entry >= 0)


class Fleet(Protocol):
    """All GPUs of the partition at a timer; arrays are aligned with `state`."""

    @property
    def now_ms(self) -> int:
        """The stream clock."""
        ...

    @property
    def new_policy(self) -> bool:
        """The policy changed: judge everything anew, from what is kept."""
        ...

    @property
    def node_ts(self) -> Array:
        """Each GPU's node time at its newest sample, ms, int64; 0 before the first."""
        ...

    @property
    def silent_s(self) -> Array:
        """Credited seconds since the GPU was in a frame, or first heard of if it never was, float64."""
        ...

    @property
    def expected(self) -> Array:
        """Whether telemetry of the GPU can be expected: it has spoken before, or an inventory names it."""
        ...

    @property
    def uninformed_s(self) -> Array:
        """Credited seconds since a frame held any value of the GPU that was not blank; NaN if its frames never did."""
        ...

    @property
    def node_silent_s(self) -> Array:
        """Credited seconds since any GPU of its node was in a frame; infinite if none ever was."""
        ...

    @property
    def absent_s(self) -> Array:
        """Credited seconds since the node lists the GPU no more, while others of the node go on; NaN if it does."""
        ...

    @property
    def stopped_s(self) -> Array:
        """Credited seconds since the node's agent said that it stops, if the GPU has been silent since; else NaN."""
        ...

    @property
    def source_fault(self) -> Array:
        """What is wrong with a source (`schemas.sources.named`) while no value comes since; 0: nothing was told."""
        ...

    @property
    def source_fault_s(self) -> Array:
        """Credited seconds since `source_fault` was first told; NaN where there is none."""
        ...

    @property
    def source_word_s(self) -> Array:
        """Credited seconds since the agent last spoke of that source; NaN where `source_fault` is 0."""
        ...

    @property
    def planned_until(self) -> Array:
        """Until when an operator has planned work on the GPU, ms of the stream clock, int64; 0: none."""
        ...

    @property
    def resetting_s(self) -> Array:
        """Credited seconds since the node's agent began to reset one of its GPUs, having let go of them all.

        NaN if it has not, or if the GPU has spoken since the result of that came.
        """
        ...

    @property
    def reset_over_s(self) -> Array:
        """Credited seconds since the result of that reset came; NaN while there is none."""
        ...

    @property
    def overdue_s(self) -> Array:
        """Credited seconds since the time for planned work is over, if the GPU has been silent since; else NaN."""
        ...


class Out(Protocol):
    """Where a signal says what it finds."""

    def judge(
        self,
        classes: Array | int,
        *,
        where: Array | None = None,
        action: Action | None = None,
        hard: bool = False,
        corruption: bool = False,
        anew: bool = False,
        **evidence: Array | float,
    ) -> None:
        """State the class of each GPU at hand: 0 fine, 1 warning, 2 critical, 3 evict, -1 cannot tell.

        where: positions of the GPUs that are meant, rising; all if None.
        evidence: the one value it was judged by, its name ending in its unit (`errors_per_hour=...`). The
        framework keeps class and evidence until the next call, and speaks only when the class changes.
        action: what to do if this takes the GPU out of service (default: evict). hard: no budget may hold
        that back. corruption: outputs may have been wrong. anew: the evidence is news though the class may not be.
        """
        ...


class Trial(Out, Protocol):
    """An `Out` for findings at several ticks, one after the other, that takes none down."""

    @property
    def steady(self) -> Array:
        """[GPU] whether all findings are what was found before; a signal may rule GPUs out, with `&=`."""
        ...

    @steady.setter
    def steady(self, steady: Array) -> None: ...


class Signal(ABC):
    """One kind of evidence. Override the hooks it needs; thresholds live in `Policy`, memory in `columns`.

    fields: DCGM fields it reads (they reach the watch list). reads: types of other observations that concern it.
    required: while it cannot tell, the GPU is unknown. quantity: the name under which it reports its value, where
    that tells the unit of its limits. family: of the incidents that its findings belong to; None where they are no
    fault.
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[int, ...]] = ()
    reads: ClassVar[tuple[type[Observation], ...]] = ()
    columns: ClassVar[Mapping[str, Column]] = {}
    quantity: ClassVar[str] = ""
    family: ClassVar[Family | None] = Family.OTHER
    required: ClassVar[bool] = False

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Thresholds with their defaults; names end in their unit."""

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        """GPUs for which a gauge in `fields` was sampled, at one tick.

        Where nothing would come of it, neither a new class nor another state, this may be told by asking about
        several ticks of a GPU in one wave, as if they were different GPUs: each is judged by itself alone.
        """

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        """One tick of only those GPUs of which a counter, level or flag in `fields` changed, or came or went blank."""

    def on_growth(self, growth: Growth, state: View, policy: Any, trial: Trial) -> None:
        """For speed alone: those GPUs of which counters in `fields` moved within a frame, and none fell or was blank.

        Judge all ticks in `trial`. Then bring `state` up to date with the whole frame where `trial.steady`, and
        nowhere else: the framework leaves these GPUs out of `on_change`, and hands it the others tick by tick. Both
        ways must come to the same. Not called on a subclass that overrides `on_change` alone.
        """

    def on_event(self, event: Event, state: View, policy: Any, out: Out) -> None:
        """A kernel fault of one GPU (arrays of length 1)."""

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        """A record of a type in `reads`.

        At hand is the GPU that it is of; where it is of a node (an inventory, the state of a source), all known GPUs
        of the node, of which an inventory names those that are there.
        """

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        """All GPUs, every five seconds of the stream clock and after each change of policy."""

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        """An operator vouches for one GPU: forget what was latched (arrays of length 1)."""

    def rates(self, state: View) -> Array | None:
        """All GPUs' windowed rates, for the heartbeat of the rates topic; None for signals that keep none."""
        return None

    def named(self, value: float) -> tuple[str, Family | None]:
        """What kind of fault its finding is, to count by and to join incidents by."""
        return self.name, self.family

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        """The finding in words. limit: what was passed; None if there is no such step (any more)."""
        name = self.name.replace("_", " ")
        measured = f"{name}: {value:g} {unit}".rstrip()
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"


@cache
def discover() -> tuple[Signal, ...]:
    """One instance of every signal: those in `processors.signals` and those of the entry-point group, by name."""
    import processors.signals

    classes = named_classes(processors.signals, Signal, "gpu_vitals.signals")
    return tuple(signal() for signal in classes.values())
