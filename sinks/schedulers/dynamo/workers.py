"""Which worker uses which GPUs, and where it can be asked: from its model card, and from a file of the operator's."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from sinks.schedulers.adapter import Away
from sinks.schedulers.dynamo.discovery import Key

logger = logging.getLogger(__name__)


class Worker(NamedTuple):
    """address: HOST:PORT of its system server, where /metrics is; empty: not known. gpus: their UUIDs."""

    address: str
    gpus: frozenset[str]


class BadMapping(Away):
    """The file cannot be used. The text says why."""


class GpuMap:
    """path: a file of UUID = "WORKER", as TOML, or as JSON where its name ends so; None: there is none.

    WORKER is the HOST:PORT of a worker's system server, which stays the same when it starts anew, or its instance id.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._workers: dict[str, str] = {}
        self._trouble = ""

    def workers(self) -> Mapping[str, str]:
        """By UUID; read anew when the file has changed. While it cannot be used, as it was when it last could.

        Raises BadMapping: it never could.
        """
        if self._path is None:
            return {}
        try:
            stat = self._path.stat()
            if self._read != (stat.st_mtime_ns, stat.st_size):
                self._workers = _parsed(self._path)
                self._read, self._trouble = (stat.st_mtime_ns, stat.st_size), ""
        except (OSError, BadMapping) as error:
            text = (
                f"{self._path}: {(error.strerror or str(error)).lower()}" if isinstance(error, OSError) else str(error)
            )
            if self._read is None:
                raise BadMapping(text) from None
            if text != self._trouble:
                logger.warning("%s; as it was before is still in use", text)
            self._trouble = text
        return self._workers


def workers(
    cards: Iterable[tuple[Key, bytes]], mapped: Mapping[str, str], asked: Mapping[str, str]
) -> dict[str, Worker]:
    """By instance. mapped: as GpuMap has it. asked: addresses, and which instance has answered there.

    A card that cannot be understood tells nothing; the map still does.
    """
    named: dict[str, set[str]] = {}
    for uuid, worker in mapped.items():
        named.setdefault(worker, set()).add(uuid)
    found = {instance: Worker(address, frozenset()) for address, instance in asked.items()}
    for key, content in cards:  # one for each model that a worker serves
        address, gpus = _of_card(content)
        before = found.get(key.instance, Worker("", frozenset()))
        found[key.instance] = Worker(before.address or address, before.gpus | gpus)
    return {
        instance: Worker(worker.address, worker.gpus | named.get(worker.address, set()) | named.get(instance, set()))
        for instance, worker in found.items()
    }


def _of_card(content: bytes) -> tuple[str, set[str]]:
    """The address is that of the files which the worker serves with its card: `http://HOST:PORT/v1/metadata/...`."""
    try:
        card = msgspec.json.decode(content)["card_json"]
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
        return "", set()
    address = next((host for text in _texts(card) if (host := _system_server(text))), "")
    uuids = _inside(card, "runtime_config", "runtime_data", "gpu_uuids")
    return address, {uuid for uuid in uuids if isinstance(uuid, str)} if isinstance(uuids, list) else set()


def _inside(card: Any, *names: str) -> Any:
    for name in names:
        card = card.get(name) if isinstance(card, dict) else None
    return card


def _texts(card: Any) -> Iterable[str]:
    if isinstance(card, dict):
        for each in card.values():
            yield from _texts(each)
    elif isinstance(card, str):
        yield card


def _system_server(text: str) -> str:
    try:
        parts = urlsplit(text)
        return parts.netloc if parts.scheme == "http" and parts.path.startswith("/v1/metadata/") and parts.port else ""
    except ValueError:
        return ""


def _parsed(path: Path) -> dict[str, str]:
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content) if path.suffix == ".json" else tomllib.loads(content.decode())
        return msgspec.convert(found, dict[str, str])
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadMapping(f'{path}: {error}; lines of UUID = "HOST:PORT" are wanted') from None
