"""The scheduler sink that the settings ask for, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem, most_similar
from pipeline.schedulers import dynamo, http, slurm
from sinks.schedulers.adapter import Adapter
from sinks.schedulers.sink import Reports, SchedulerSink

if TYPE_CHECKING:
    from pipeline.settings import Settings

# Each kind of scheduler: what makes its adapter of the settings (a table of its own, where it needs more than
# `[scheduler]` has) and the environment. Raises UsageProblem.
ADAPTERS: dict[str, Callable[[Settings, Mapping[str, str]], Adapter]] = {
    "dynamo": lambda settings, environment: dynamo.build(settings.dynamo, environment),
    "http": lambda settings, environment: http.build(settings.scheduler, environment),
    "slurm": lambda settings, environment: slurm.build(settings.slurm, environment),
}


def adapter(settings: Settings, environment: Mapping[str, str]) -> Adapter:
    """Raises UsageProblem."""
    to, known = settings.scheduler.to, ", ".join(ADAPTERS)
    if to is None:
        raise UsageProblem("scheduler.to: missing", 'to = "http", or another one, in the table [scheduler]')
    if to not in ADAPTERS:
        similar = most_similar(to, ADAPTERS)
        raise UsageProblem(f"scheduler.to: no such scheduler: {to}", f'to = "{similar}"' if similar else known)
    return ADAPTERS[to](settings, environment)


def scheduler_sink(settings: Settings, environment: Mapping[str, str], reports: Reports) -> SchedulerSink:
    """Raises UsageProblem."""
    return SchedulerSink(adapter(settings, environment), reports, wall_ms, settings.scheduler.enabled)
