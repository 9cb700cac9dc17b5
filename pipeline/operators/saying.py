"""One word from the command line to the log: whom it is about, when it was said, who says it, and the signature."""

from __future__ import annotations

import getpass
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.history import History
    from pipeline.kafka.settings import Kafka
    from pipeline.operators.outcome import Outcome
    from pipeline.settings import Settings
    from schemas.records import Operator


class Target(NamedTuple):
    """Whom the word is about, one of them: a GPU (UUID, or with a node its PCI address), a node, a rack, or all."""

    gpu: str
    node: str
    rack: str
    all_: bool


class Fleet(NamedTuple):
    """Where the fleet is: the data directory of an embedded pipeline, or None and Kafka's settings."""

    directory: Path | None
    settings: Settings


def say(
    fleet: Fleet,
    target: Target,
    key_file: str | None,
    *,
    lasts_s: float | None,
    author: str | None,
    wait_s: float,
    recorded: Callable[[Operator], None],
    **word: Any,
) -> Outcome | None:
    """Record an operator's word, hand it to `recorded` as it then is, and return what became of it.

    word: its other fields. wait_s: for what becomes of it; 0 = not at all, then it is None. Raises UsageProblem: it is
    not recorded.
    """
    from schemas.records import Operator

    if fleet.directory is not None:
        from pipeline.operators import local, place
        from pipeline.operators.outcome import Trace

        now_ms, cluster = local.now(fleet.directory)
        author = place.author(author or getpass.getuser(), os.getuid())
    else:
        from pipeline.clock import wall_ms

        now_ms, cluster = wall_ms(), fleet.settings.cluster
        author = author or getpass.getuser()
    made = Operator(
        ts=now_ms,
        cluster=cluster,
        author=author,
        id=secrets.token_hex(16),
        until=0 if lasts_s is None else now_ms + round(1000 * lasts_s),
        **_named(target, fleet),
        **word,
    )
    made = _signed(made, key_file)
    if fleet.directory is not None:
        local.say(fleet.directory, made)
        recorded(made)
        return local.followed(fleet.directory, Trace(made), wait_s) if wait_s else None
    import asyncio

    return asyncio.run(_on_kafka(fleet.settings.kafka, made, wait_s, recorded))


async def _on_kafka(
    kafka: Kafka, word: Operator, wait_s: float, recorded: Callable[[Operator], None]
) -> Outcome | None:
    from pipeline.kafka import words
    from pipeline.kafka.hearing import followed
    from pipeline.operators.outcome import Trace

    await words.say(kafka, word)
    recorded(word)
    return await followed(kafka, Trace(word), wait_s) if wait_s else None


def _named(target: Target, fleet: Fleet) -> dict[str, Any]:
    if not target.gpu:
        return {"node": target.node, "rack": target.rack}
    node, _, address = target.gpu.rpartition("/")
    node = target.node or node
    if ":" in address:  # a PCI address
        if not node:
            raise UsageProblem(f"--gpu {address}: of which node?", "--gpu NODE/ADDRESS, or --node NODE beside it")
        return {"node": node, "bdf": address}
    return {"node": node or _home(address, fleet), "uuid": address}


def _home(uuid: str, fleet: Fleet) -> str:
    """The node of a GPU: words about it are told apart by that. Raises UsageProblem."""
    import msgspec

    from pipeline.history import Asked
    from schemas.records import Inventory
    from schemas.topics import INVENTORY

    found: dict[str, bool] = {}
    decode = msgspec.json.Decoder(Inventory).decode

    def take(topic: str, record: Any) -> None:
        found[record.key] = bool(record.value) and any(gpu.uuid == uuid for gpu in decode(record.value).gpus)

    history(fleet).read([Asked(INVENTORY)], take)
    homes = sorted(node for node, holds in found.items() if holds)
    if len(homes) != 1:
        among = f"inventories of {', '.join(homes)}" if homes else "no node's inventory"
        raise UsageProblem(f"--gpu {uuid}: is in {among}", "name its node as well: --node")
    return homes[0]


def history(fleet: Fleet) -> History:
    """What that fleet's log has kept."""
    if fleet.directory is not None:
        from pipeline.sqlite_history import SqliteHistory

        return SqliteHistory(fleet.directory)
    from pipeline.kafka.history import KafkaHistory

    return KafkaHistory(fleet.settings.kafka)


def _signed(word: Operator, key_file: str | None) -> Operator:
    if key_file is None:
        return word
    from pipeline.node_commands.keys import private_key
    from schemas.operators import signed

    key = private_key(key_file)
    try:
        return signed(word, key.id, key.private)
    except ImportError:
        raise UsageProblem("signing needs the package cryptography", "pip install 'gpu-vitals[commands]'") from None


def located(data_dir: str | None, kafka_named: bool, settings: Settings, of_this_user: Callable[[], Path]) -> Fleet:
    """The fleet that flags and settings mean. Raises UsageProblem: they name two."""
    if data_dir is not None and kafka_named:
        raise UsageProblem("--data-dir and --bootstrap or --prefix exclude each other", "name one fleet to speak to")
    from pipeline.kafka.settings import Kafka

    on_kafka = kafka_named or (data_dir is None and settings.data_dir is None and settings.kafka != Kafka())
    directory = None if on_kafka else Path(data_dir or settings.data_dir or of_this_user()).expanduser()
    return Fleet(directory, settings)
