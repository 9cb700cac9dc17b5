"""The table [scheduler]: what it makes, and what is said where it is wrong."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import UsageProblem
from pipeline.schedulers.build import ADAPTERS, adapter
from pipeline.schedulers.settings import SchedulerSettings, SlurmSettings
from pipeline.settings import Settings
from sinks.schedulers.adapter import Capabilities

URL = "https://scheduler.example"


def made(environment=None, **more):
    return adapter(Settings(scheduler=SchedulerSettings(**more)), environment or {})


def test_by_default_nothing_is_done():
    assert SchedulerSettings().enabled is False


def test_a_scheduler_over_http_can_be_had_with_what_it_can_do():
    found = made(to="http", url=URL, token_env="T", environment={"T": "s3cret"})
    assert found.name == "http"
    assert found.capabilities == Capabilities("none", "gpu", in_flight=True, force=True)
    asyncio.run(found.close())


def test_slurm_can_be_had_by_its_own_table():
    settings = Settings(scheduler=SchedulerSettings(to="slurm"), slurm=SlurmSettings(commands_dir="/opt/slurm/bin"))
    assert adapter(settings, {}).name == "slurm"


@pytest.mark.parametrize(
    ("more", "expected", "help"),
    [
        ({}, "scheduler.to: missing", 'to = "http", or another one, in the table [scheduler]'),
        ({"to": "htpp"}, "scheduler.to: no such scheduler: htpp", 'to = "http"'),
        ({"to": "kubernetes"}, "scheduler.to: no such scheduler: kubernetes", ", ".join(ADAPTERS)),
        ({"to": "http"}, "scheduler.url: not an address: ''", 'url = "https://HOST"'),
        ({"to": "http", "url": "ftp://x"}, "scheduler.url: not an address: 'ftp://x'", 'url = "https://HOST"'),
        (
            {"to": "http", "url": "https://ann:s3cret@x"},
            "scheduler.url: holds a user or a password",
            "a token goes to `token_file`",
        ),
        (
            {"to": "http", "url": "http://x.org", "token_env": "T"},
            "scheduler.url: http://x.org: the token would go unencrypted",
            "use https",
        ),
        (
            {"to": "http", "url": URL, "token_env": "NOT_SET"},
            "scheduler: environment variable NOT_SET is empty",
            "name a `token_file`, or a `token_env`",
        ),
        (
            {"to": "http", "url": URL, "token_file": "/nowhere"},
            "scheduler: /nowhere: No such file or directory",
            "name a `token_file`, or a `token_env`",
        ),
        (
            {"to": "http", "url": URL, "ca_file": "/nowhere"},
            "scheduler.ca_file: /nowhere: [Errno 2] No such file or directory",
            "a file of certificates, PEM",
        ),
        ({"to": "http", "url": URL, "owner": " "}, "scheduler.owner: empty", 'owner = "gpu-vitals"'),
    ],
)
def test_what_is_wrong_is_said_with_how_to_mend_it(more, expected, help):
    with pytest.raises(UsageProblem) as problem:
        made({"T": "s3cret"}, **more)
    assert str(problem.value) == f"{expected}\n  help: {help}"
