from __future__ import annotations

import asyncio
import os
from collections import namedtuple

import pytest

from pipeline import agent_check
from pipeline.agent_check import check
from pipeline.node_commands.keys import public_stanza
from pipeline.node_commands.settings import CommandSettings
from pipeline.settings import Settings
from pipeline.spool.settings import AgentSettings
from producers.finding import Finding
from producers.machine import Machine

BARE = Machine([], ["no DCGM engine at 127.0.0.1:5555", "no NVIDIA driver"])
KAFKA = Finding("kafka", "ok", "kafka-1:9092 answers")


@pytest.fixture(autouse=True)
def _nothing_but_this(monkeypatch, tmp_path):
    """No journalctl and no timedatectl of the machine's own."""
    monkeypatch.setenv("PATH", str(tmp_path))


def checked(*sources, there=BARE, kafka=(KAFKA,), **more):
    async def asked(settings):
        return list(kafka)

    settings = Settings(sources=list(sources), **{"agent": AgentSettings(spool_dir="/tmp"), **more})
    return asyncio.run(check(settings, look=lambda: there, kafka=asked))


def the(what, findings):
    (found,) = [finding for finding in findings if finding.what == what]
    return found


def test_on_a_node_without_a_gpu_it_says_what_was_looked_for():
    found = checked()
    assert the("sources", found) == Finding(
        "sources",
        "error",
        "no GPU was found on this machine: no DCGM engine at 127.0.0.1:5555; no NVIDIA driver",
        "name sources with --source, or simulator:8 to try",
    )
    assert {"dcgm", "nvml", "kmsg", "journal", "spool", "kafka", "clock"} <= {finding.what for finding in found}


def test_what_the_machine_has_is_said_to_be_its_choice():
    found = checked(there=Machine(["kmsg"], []))
    assert the("sources", found).found == "kmsg: what this machine has, as none is named"
    assert not [finding for finding in found if finding.what in ("dcgm", "nvml", "journal")]


def test_sources_that_cannot_be_are_an_error_with_its_help():
    found = the("sources", checked("dcgm", "nvml"))
    assert (found.state, found.fix) == ("error", "name one of them; DCGM tells more")


def test_what_need_not_be_there_is_an_error_where_it_shall_be_read():
    assert the("journal", checked()).state == "absent"
    assert the("journal", checked("journal")).state == "error"


def test_telemetry_without_the_kernels_messages_is_less_than_it_could_be():
    assert [one.fix for one in checked("dcgm") if one.what == "sources" and one.state == "warning"] == [
        "add kmsg or journal"
    ]
    assert len([one for one in checked("simulator:8") if one.what == "sources"]) == 1


def test_other_sources_are_tried(tmp_path):
    log = tmp_path / "kern.log"
    log.touch()
    assert the(f"kernel-log:{log}", checked(f"kernel-log:{log}")).state == "ok"
    found = the("exporter:http://127.0.0.1:1/metrics", checked("exporter:http://127.0.0.1:1/metrics"))
    assert found.state == "error"
    assert "is the exporter running there?" in found.found


def test_a_spool_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = the("spool", checked(agent=AgentSettings(spool_dir=str(tmp_path / "a" / "b"))))
    assert found.state == "error"
    assert str(tmp_path) in found.found
    assert "spool_dir in [agent]" in found.fix


def test_a_spool_is_not_made_by_looking_at_it(tmp_path):
    directory = tmp_path / "spool"
    assert "not made yet" in the("spool", checked(agent=AgentSettings(spool_dir=str(directory)))).found
    assert not directory.exists()


def test_a_disk_too_small_for_the_spool_is_said(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(9 << 20, 0, 9 << 20))
    found = the("spool", checked(agent=AgentSettings(spool_dir=str(tmp_path))))
    assert (found.state, "has 9 MiB" in found.found) == ("warning", True)


@pytest.mark.parametrize(("answer", "state"), [("yes", "ok"), ("no", "warning"), ("", "absent"), (None, "absent")])
def test_the_clock_is_systemds_word_where_there_is_no_brokers(tmp_path, answer, state):
    if answer is not None:
        program = tmp_path / "timedatectl"
        program.write_text(f"#!/bin/sh\necho {answer}\n")
        program.chmod(0o755)
    assert the("clock", checked()).state == state
    brokers = Finding("clock", "error", "9 s behind the broker's")
    assert the("clock", checked(kafka=(KAFKA, brokers))) == brokers


def test_a_part_that_crashes_or_hangs_hides_no_other(monkeypatch):
    monkeypatch.setattr(agent_check, "LONGEST_S", 2.0)  # of which the other parts need next to nothing

    async def hangs():
        await asyncio.sleep(3600)

    async def crashes():
        raise ValueError("x")

    monkeypatch.setattr("producers.kmsg.findings", hangs)
    monkeypatch.setattr("producers.journal.findings", crashes)
    found = checked("kmsg", "journal")
    assert [one.found for one in found if one.what == "check"] == [
        "a part of it hangs for more than 2 s",
        "a part of it crashed: ValueError: x",
    ]
    assert KAFKA in found


def test_it_says_whether_commands_are_done_and_what_is_missing(tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(public_stanza("ops", bytes(32)))
    keys.chmod(0o644)

    def said(**commands):
        found = the("commands", checked(commands=CommandSettings(**commands)))
        return found.state, found.found

    assert said() == ("ok", "refused: no public key is known here")
    assert said(keys=str(keys)) == ("ok", "dry run: verified and answered, never done")
    assert said(keys=str(keys), enabled=True)[1].startswith("done, when signed by ops")
    assert said(enabled=True) == ("error", "commands.enabled: needs commands.keys, a file of public keys")
