"""The options that say which fleet is spoken to: one on Kafka, or beside an embedded pipeline that runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
OPTIONS = (
    click.option("--data-dir", metavar="DIR", help="Of a `gpu-vitals run` that is running.  [default: as run's]"),
    click.option("--bootstrap", metavar="HOST:PORT,...", help="Kafka's brokers: a fleet on our topics there."),
    click.option("--prefix", metavar="TEXT", help="Of all topics and groups on Kafka.  [default: gpu-vitals.]"),
    click.option("--config", metavar="FILE", help="Settings in TOML.  [default: gpu-vitals.toml, if it exists]"),
)


def fleet_options(function: F) -> F:
    """Adds the options; the command gets `fleet` (`pipeline.operators.saying.Fleet`)."""

    @wraps(function)
    def wrapped(
        data_dir: str | None, bootstrap: str | None, prefix: str | None, config: str | None, **others: Any
    ) -> Any:
        from pipeline.commands.kafka_options import loaded
        from pipeline.commands.log_options import of_this_user
        from pipeline.operators.saying import located

        settings = loaded(config, {"bootstrap": bootstrap, "prefix": prefix})
        fleet = located(data_dir, bootstrap is not None or prefix is not None, settings, of_this_user)
        return function(fleet=fleet, **others)

    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
