"""The options that every command has which speaks to Kafka."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pipeline.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def kafka_options(function: F) -> F:
    """Adds --bootstrap, --prefix and --config; the command gets `settings`, with flags and environment in it."""

    @wraps(function)
    def wrapped(bootstrap: str | None, prefix: str | None, config: str | None, **others: Any) -> Any:
        return function(settings=loaded(config, {"bootstrap": bootstrap, "prefix": prefix}), **others)

    options = (
        click.option("--bootstrap", metavar="HOST:PORT,...", help="Kafka's brokers.  [default: 127.0.0.1:9092]"),
        click.option("--prefix", metavar="TEXT", help="Of all topics and groups.  [default: gpu-vitals.]"),
        click.option("--config", metavar="FILE", help="Settings in TOML.  [default: gpu-vitals.toml, if it exists]"),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def loaded(config: str | None, kafka: dict[str, Any], **others: Any) -> Settings:
    """The settings in force; None among the flags: not given."""
    from pipeline import settings

    flags = {name: value for name, value in others.items() if value not in (None, ())}
    given = {name: value for name, value in kafka.items() if value is not None}
    return settings.load(config, os.environ, {**flags, "kafka": given})
