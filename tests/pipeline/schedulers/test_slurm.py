"""Slurm as an operator configures it."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.errors import UsageProblem
from pipeline.schedulers.slurm import SlurmSettings, build
from sinks.schedulers.adapter import Capabilities


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"commands_dir": "/opt/slurm/bin", "conf": "/etc/slurm/slurm.conf", "deadline_s": 5.0, "cancel": True},
        {"nodes": {"host": "node-1"}, "node_suffix": ".example.com"},
        {"access": "rest", "rest_url": "unix:/run/slurmrestd.sock"},
        {"access": "rest", "rest_url": "http://[::1]:6820", "rest_user": "slurm", "rest_token_file": "token"},
        {"access": "rest", "rest_url": "https://slurm.example.com", "rest_user": "slurm", "rest_token_file": "token"},
    ],
)
def test_settings_that_are_sound_ask_slurm_nothing(settings):
    adapter = build(msgspec.convert(settings, SlurmSettings))
    assert adapter.name == "slurm"
    assert adapter.capabilities == Capabilities("none", "node", in_flight=True, force=True)


REST = {"access": "rest", "rest_url": "http://127.0.0.1:6820"}


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"nodes": {"host": "ALL"}}, "slurm.nodes: host: not the name of one node: 'ALL'"),
        ({"nodes": {"host": ""}}, "slurm.nodes: host: not the name of one node: ''"),
        ({"access": "rest"}, "slurm.rest_url: not an address: ''"),
        ({"access": "rest", "rest_url": "unix:"}, "slurm.rest_url: names no socket"),
        ({"access": "rest", "rest_url": "host:6820"}, "slurm.rest_url: not an address: 'host:6820'"),
        ({"access": "rest", "rest_url": "http://[::1"}, "slurm.rest_url: not an address: 'http://[::1'"),
        ({"access": "rest", "rest_url": "http://u:secret@host:1"}, "slurm.rest_url: not an address"),
        ({"access": "rest", "rest_url": "http://host/slurm"}, "slurm.rest_url: not an address: 'http://host/slurm'"),
        ({**REST, "rest_user": "slurm"}, "slurm: a user without a token, or the reverse"),
        ({**REST, "rest_token_file": "token"}, "slurm: a user without a token, or the reverse"),
        (
            {**REST, "rest_url": "http://host:6820", "rest_user": "slurm", "rest_token_file": "token"},
            "slurm.rest_url: http://host:6820: the token would go unencrypted",
        ),
    ],
)
def test_what_is_wrong_is_said(settings, what):
    with pytest.raises(UsageProblem) as problem:
        build(msgspec.convert(settings, SlurmSettings))
    assert str(problem.value).splitlines()[0] == what


@pytest.mark.parametrize("settings", [{"access": "guess"}, {"deadline_s": 0.0}, {"reqeue": True}])
def test_keys_and_values_that_are_none_are_refused(settings):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, SlurmSettings)
