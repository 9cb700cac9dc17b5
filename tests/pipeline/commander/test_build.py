"""The table [commander]: what it makes, and what is said where it is wrong."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from pipeline.commander.build import commander_sink
from pipeline.commander.settings import CommanderSettings
from pipeline.errors import UsageProblem
from pipeline.kafka.settings import Kafka
from pipeline.node_commands.keys import PrivateKey, write_private

PRIVATE = bytes(range(32))


@pytest.fixture
def key(tmp_path):
    write_private(str(tmp_path / "ops.key"), PrivateKey("ops", PRIVATE))
    return str(tmp_path / "ops.key")


async def current():
    """All there is has been read."""


def made(**more):
    return commander_sink(CommanderSettings(**more), Kafka(), current)


def test_by_default_it_is_a_dry_run_that_needs_no_key():
    assert made()._outbox is None


def test_a_key_alone_enables_nothing(key):
    assert made(key=key)._outbox is None


def test_it_sends_where_it_is_told_to_and_has_a_key(key):
    sink = made(key=key, enabled=True)
    assert sink._outbox is not None
    asyncio.run(sink.close())


@pytest.mark.parametrize("enabled", [False, True])
def test_a_key_that_others_may_open_is_refused(key, enabled):
    os.chmod(key, 0o640)
    with pytest.raises(UsageProblem, match="others than its owner may open this private key"):
        made(key=key, enabled=enabled)


def test_a_key_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageProblem, match="no such file"):
        made(key=str(tmp_path / "none.key"), enabled=True)


def test_nothing_is_sent_without_a_key():
    with pytest.raises(UsageProblem, match=r"^commander.enabled: needs commander.key"):
        made(enabled=True)


def test_nothing_is_sent_without_the_library_that_signs(key, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(UsageProblem, match=r"^commander.enabled: signing needs the package cryptography"):
        made(key=key, enabled=True)
