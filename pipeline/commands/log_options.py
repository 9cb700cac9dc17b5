"""The options that say which log a command looks into: a data directory, or Kafka; flags outrank settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.history import History

F = TypeVar("F", bound=Callable[..., Any])
OPTIONS = (
    click.option("--data-dir", metavar="DIR", help="Of a `gpu-vitals run`, which may be running.  [default: as run's]"),
    click.option("--bootstrap", metavar="HOST:PORT,...", help="Kafka's brokers: look into our topics there."),
    click.option("--prefix", metavar="TEXT", help="Of all topics and groups on Kafka.  [default: gpu-vitals.]"),
    click.option("--policy", metavar="NAME|FILE", help="Judge recordings by this policy.  [default: default]"),
    click.option("--config", metavar="FILE", help="Settings in TOML.  [default: gpu-vitals.toml, if it exists]"),
)


def log_options(function: F) -> F:
    """Adds the options; the command gets `open_history`, to be called with the recordings that it was given."""

    @wraps(function)
    def wrapped(**options: Any) -> Any:
        given = {name: options.pop(name) for name in ("data_dir", "bootstrap", "prefix", "policy", "config")}

        def open_history(recordings: tuple[Path, ...]) -> History:
            return opened(recordings, **given)

        return function(open_history=open_history, **options)

    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def opened(
    recordings: tuple[Path, ...],
    data_dir: str | None,
    bootstrap: str | None,
    prefix: str | None,
    policy: str | None,
    config: str | None,
) -> History:
    """Raises UsageProblem: several logs are named, or none is there."""
    from pipeline.commands.kafka_options import loaded
    from pipeline.kafka.settings import Kafka

    kafka_named = bootstrap is not None or prefix is not None
    named = [word for word, is_named in _named(recordings, data_dir, kafka_named) if is_named]
    if len(named) > 1:
        raise UsageProblem(f"{' and '.join(named)} exclude each other", "name one log to look into")
    if policy and not recordings:
        raise UsageProblem("--policy is for recordings", "a log holds what was judged already; leave it out")
    settings = loaded(config, {"bootstrap": bootstrap, "prefix": prefix})
    if recordings:
        from pipeline import policy_errors
        from pipeline.history import RecordedHistory
        from processors.policy import to_change

        return RecordedHistory(recordings, to_change(policy_errors.load(policy or settings.policy), 0))
    if kafka_named or (data_dir is None and settings.data_dir is None and settings.kafka != Kafka()):
        from pipeline.kafka.history import KafkaHistory

        return KafkaHistory(settings.kafka)
    from pipeline.sqlite_history import SqliteHistory

    return SqliteHistory(Path(data_dir or settings.data_dir or of_this_user()).expanduser())


def _named(recordings: tuple[Path, ...], data_dir: str | None, kafka: bool) -> tuple[tuple[str, bool], ...]:
    return ("recordings", bool(recordings)), ("--data-dir", data_dir is not None), ("--bootstrap or --prefix", kafka)


def of_this_user() -> Path:
    """Where `run` keeps the log of live sources."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "gpu-vitals"
