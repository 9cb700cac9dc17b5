"""The sink that the settings ask for, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pipeline.commander.outbox import KafkaOutbox
from pipeline.commander.settings import CommanderSettings
from pipeline.errors import UsageProblem
from pipeline.kafka.settings import Kafka
from pipeline.node_commands.keys import private_key
from pipeline.node_commands.mode import HELP
from schemas.signing import public_half
from sinks.commander.sink import CommanderSink

NO_LIBRARY = "commander.enabled: signing needs the package cryptography"
INSTALL = "pip install 'gpu-vitals[commands]'"


def commander_sink(settings: CommanderSettings, kafka: Kafka, current: Callable[[], Awaitable[None]]) -> CommanderSink:
    """current: of the sink's follower (`KafkaFollower.current`). Raises UsageProblem: it could not sign.

    A key that is named is looked at in a dry run as well, so that what is wrong with it shows before it counts.
    """
    key = private_key(settings.key) if settings.key else None
    if not settings.enabled:
        return CommanderSink(None, settings.per_s)
    if key is None:
        raise UsageProblem("commander.enabled: needs commander.key, a file with a private key", HELP)
    try:
        public_half(key.private)
    except ImportError:
        raise UsageProblem(NO_LIBRARY, INSTALL) from None
    return CommanderSink(KafkaOutbox(kafka, key, current), settings.per_s)
