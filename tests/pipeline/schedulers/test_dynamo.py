"""Dynamo as an operator configures it: what is wrong is said in one line, before anything is asked of anybody."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import UsageProblem
from pipeline.schedulers.dynamo import DynamoSettings, build
from pipeline.toml_errors import parse
from sinks.schedulers.dynamo.saved import Saved

ETCD = {"endpoints": ["http://127.0.0.1:2379"]}


def settings(tmp_path, **keys) -> DynamoSettings:
    return DynamoSettings(**{"state_dir": str(tmp_path / "state"), **keys})


@pytest.mark.parametrize(
    ("keys", "text", "help"),
    [
        ({}, "dynamo.endpoints: missing", 'endpoints = ["http://HOST:2379"]'),
        (
            {"endpoints": ["etcd:2379"]},
            "dynamo.endpoints: not the address of a member of etcd",
            'endpoints = ["http://HOST:2379"]',
        ),
        (
            {"endpoints": ["http://ann:s3cret@etcd:2379"]},
            "dynamo.endpoints: not the address of a member of etcd",
            'endpoints = ["http://HOST:2379"]',
        ),
        (
            {"endpoints": ["http://etcd:2379"], "user": "root", "secret_env": "PASSWORD"},
            "dynamo.endpoints: http://etcd:2379: the password would go unencrypted",
            "use https",
        ),
        (ETCD | {"user": "root"}, "dynamo: environment variable  is empty", "name a `secret_file`, or a `secret_env`"),
        (
            ETCD | {"ca_file": "/nowhere"},
            "dynamo.ca_file: /nowhere: [Errno 2] No such file or directory",
            "a file of certificates, PEM",
        ),
        (
            ETCD | {"cert_file": "/nowhere"},
            "dynamo.cert_file: /nowhere: [Errno 2] No such file or directory",
            "a certificate and its key",
        ),
        ({"discovery": "file"}, "dynamo.file_kv: missing", "the directory that the workers have as DYN_FILE_KV"),
        (
            {"discovery": "file", "file_kv": "/nowhere"},
            "dynamo.file_kv: /nowhere: not a directory",
            "the workers' DYN_FILE_KV",
        ),
        (ETCD | {"gpu_map": "/nowhere.toml"}, "dynamo.gpu_map: /nowhere.toml: no such file or directory", ""),
        (ETCD | {"serving": []}, "dynamo.serving: names no endpoint", 'serving = ["generate"]'),
        (
            ETCD | {"remove_command": ["stop", "{worker}"]},
            "dynamo.remove_command: nothing is known as {worker}",
            "there are {instance} and {address}",
        ),
        (
            ETCD | {"state_dir": "/dev/null"},
            "dynamo.state_dir: /dev/null: file exists",
            "a directory of its own, which outlives us",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path, keys, text, help):
    with pytest.raises(UsageProblem) as caught:
        build(settings(tmp_path, **keys), {"PASSWORD": "s3cret"})
    assert (caught.value.text, caught.value.help) == (text, help)


def test_a_state_directory_that_is_in_use_is_named(tmp_path):
    saved = Saved(tmp_path / "state")
    with pytest.raises(UsageProblem, match="state: another process uses it"):
        build(settings(tmp_path, **ETCD), {})
    saved.close()


def test_it_forces_only_with_a_command(tmp_path):
    for number, command in enumerate(([], ["kill-worker", "{instance}", "--at={address}", "{}"])):
        made = build(settings(tmp_path, **ETCD, force_command=command, state_dir=str(tmp_path / str(number))), {})
        assert (made.name, made.capabilities.force, made.capabilities.unit) == ("dynamo", bool(command), "worker")
        asyncio.run(made.close())


def test_as_an_operator_writes_it(tmp_path):
    text = 'discovery = "file"\nfile_kv = "/shared/dynamo"\nserving = ["generate", "embed"]\n'
    assert parse("d.toml", text, DynamoSettings).serving == ["generate", "embed"]
    with pytest.raises(UsageProblem, match="`file_kv`"):
        parse("d.toml", 'filekv = "x"', DynamoSettings)
