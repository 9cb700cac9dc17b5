"""The table [tickets]: what it makes, and what is said where it is wrong."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageProblem
from pipeline.tickets.build import ticket_sink
from pipeline.tickets.settings import TicketSettings

URL = "https://example.service-now.com"


def settings(**more):
    return TicketSettings(**{"enabled": True, **more})


def test_without_a_place_there_are_no_tickets(tmp_path):
    assert ticket_sink(settings(), {}, tmp_path) is None


def test_by_default_it_only_says_what_it_would_do(tmp_path):
    sink = ticket_sink(TicketSettings(to="file", directory=str(tmp_path / "t")), {}, tmp_path)
    assert sink._tracker.where == f"dry run of {tmp_path / 't'}"
    assert list(tmp_path.iterdir()) == [], "and remembers nothing"
    sink._memory.close()


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"to": "file", "directory": "t"}, "t"),
        ({"to": "servicenow", "url": URL, "user": "gpu", "secret_env": "S"}, URL),
        ({"to": "jira", "url": URL, "project": "OPS", "secret_env": "S"}, f"{URL} OPS"),
        ({"to": "webhook", "url": f"{URL}/hook", "secret_env": "S"}, f"{URL}/hook"),
        ({"to": "alertmanager", "url": "http://alertmanager:9093"}, "http://alertmanager:9093"),
    ],
)
def test_every_place_can_be_had_and_has_a_memory_of_its_own(tmp_path, more, where):
    sink = ticket_sink(settings(**more), {"S": "s3cret"}, tmp_path)
    assert sink._tracker.where == where
    assert [path.name for path in tmp_path.glob("*.sqlite")] == [f"tickets-{more['to']}.sqlite"]
    sink._memory.close()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"to": "servicenow"}, "tickets.url: not an address: ''"),
        ({"to": "webhook", "url": "ftp://x"}, "tickets.url: not an address: 'ftp://x'"),
        ({"to": "jira", "url": URL, "secret_env": "S"}, "tickets.project: not the key of a project"),
        ({"to": "jira", "url": URL, "secret_env": "S", "project": 'A" OR "'}, "tickets.project: not the key"),
        (
            {"to": "jira", "url": URL, "secret_env": "S", "project": "A", "priorities": ["High"]},
            "tickets.priorities: not four names",
        ),
        ({"to": "servicenow", "url": URL}, "tickets: servicenow needs a secret"),
        ({"to": "servicenow", "url": URL, "secret_env": "NOT_SET"}, "environment variable NOT_SET is empty"),
        ({"to": "servicenow", "url": URL, "secret_file": "/nowhere"}, "/nowhere: No such file or directory"),
        ({"to": "servicenow", "url": "http://x.org", "secret_env": "S"}, "the secret would go unencrypted"),
        ({"to": "alertmanager", "url": "http://x", "ca_file": "/nowhere"}, "tickets.ca_file: /nowhere"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, more, expected):
    with pytest.raises(UsageProblem) as caught:
        ticket_sink(settings(**more), {"S": "s3cret"}, tmp_path)
    assert expected in str(caught.value)
    assert "\n  help: " in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(UsageProblem) as caught:
        ticket_sink(settings(to="webhook", url="https://me:hunter2@example.org/"), {}, tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_directory_that_another_process_uses_is_refused(tmp_path):
    first = ticket_sink(settings(to="file"), {}, tmp_path)
    with pytest.raises(UsageProblem, match="another process keeps its tickets there"):
        ticket_sink(settings(to="file"), {}, tmp_path)
    first._memory.close()
