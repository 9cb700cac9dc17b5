"""Each tracker before a real HTTP server: found or created once, updated, closed, opened again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from email.utils import formatdate

import msgspec
import pytest

from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.jira import Jira
from sinks.tickets.servicenow import ServiceNow
from sinks.tickets.ticket import Ticket, TicketGpu
from sinks.tickets.tracker import Later, Missing, Ref, Refused
from sinks.tickets.webhook import TicketWebhook
from tests.sinks.tickets.servers import JiraServer, Server, ServiceNowServer

TICKET = Ticket(
    id="b1/0000:1b:00/memory/1",
    cluster="c1",
    is_open=True,
    title="b1 0000:1b:00: Xid 48",
    fault="Xid 48: double-bit ECC error",
    action="evict",
    priority=2,
    opened=1_767_603_600_000,
    gpus=[TicketGpu(key="GPU-1", node="b1", uuid="GPU-1", serial="1601")],
)
GRAVER = msgspec.structs.replace(TICKET, action="remove-node", priority=1)
CLOSED = msgspec.structs.replace(TICKET, is_open=False, closed_because="restored by ann")
SECRET = Secret(None, "S", {"S": "s3cret"})


def run(call):
    return asyncio.run(call)


@pytest.fixture
def servicenow():
    server = ServiceNowServer()
    yield server
    server.close()


@pytest.fixture
def jira():
    server = JiraServer()
    yield server
    server.close()


@pytest.fixture
def receiver():
    server = Server()
    yield server
    server.close()


def to_servicenow(server, secret=SECRET, **more):
    fields = {"assignment_group": "gpu-hands"}
    return ServiceNow(HttpClient(server.url, secret, user="gpu", **more), "Solution provided", fields)


def to_jira(server, priorities=("Highest", "High", "Medium", "Low"), **more):
    return Jira(HttpClient(server.url, SECRET, user="gpu"), "OPS", "Task", list(priorities), **more)


# --- both ticket systems ----------------------------------------------------------------------------------------


def life(tracker, is_open, content):
    """One ticket through all that can happen to it. is_open, content: of it there, by its key."""
    assert run(tracker.find(TICKET)) is None
    ref = run(tracker.create(TICKET, 1))
    assert run(tracker.find(TICKET)) == ref
    assert is_open(ref.key)
    run(tracker.update(ref, GRAVER, TICKET, 2, False))
    assert "remove-node" in content(ref.key)
    run(tracker.close(ref, CLOSED, GRAVER, 3))
    assert not is_open(ref.key)
    assert "restored by ann" in content(ref.key)
    assert run(tracker.find(TICKET)) == Ref(ref.key, False)
    run(tracker.close(ref, CLOSED, GRAVER, 3))  # the answer was lost
    run(tracker.update(ref, GRAVER, CLOSED, 4, False))
    assert not is_open(ref.key), "nobody has asked to open it"
    for _ in range(2):
        run(tracker.update(ref, GRAVER, CLOSED, 5, True))
        assert is_open(ref.key)
    other = msgspec.structs.replace(TICKET, id="another")
    assert run(tracker.find(other)) is None


def test_an_incident_of_servicenow(servicenow):
    def content(key):
        return servicenow.records[key]["description"]

    life(to_servicenow(servicenow), lambda key: servicenow.records[key]["state"] not in "678", content)
    (record,) = servicenow.records.values()
    assert record["correlation_id"] == TICKET.correlation
    assert (record["impact"], record["urgency"]) == ("1", "1")
    assert (record["close_code"], record["assignment_group"]) == ("Solution provided", "gpu-hands")
    assert "work_notes" not in record
    assert "comments" not in record


def test_an_issue_of_jira(jira):
    def content(key):
        return json.dumps(jira.issues[key]["description"])

    life(to_jira(jira), lambda key: jira.issues[key]["status"] != "Done", content)
    (issue,) = jira.issues.values()
    assert issue["labels"] == ["gpu-vitals", TICKET.correlation]
    assert (issue["issuetype"], issue["priority"]) == ({"name": "Task"}, {"name": "Highest"})


def test_the_oldest_of_several_incidents_is_ours(servicenow):
    tracker = to_servicenow(servicenow)
    first = run(tracker.create(TICKET, 1))
    run(tracker.create(TICKET, 1))
    assert run(tracker.find(TICKET)) == first


def test_an_empty_page_of_a_search_is_not_the_last_one(jira):
    tracker = to_jira(jira)
    ref = run(tracker.create(TICKET, 1))
    jira.empty_pages = 3
    assert run(tracker.find(TICKET)) == ref


def test_an_incident_that_was_closed_for_good_is_not_there_to_be_opened(servicenow):
    tracker = to_servicenow(servicenow)
    ref = run(tracker.create(TICKET, 1))
    servicenow.records[ref.key]["state"] = "7"
    with pytest.raises(Refused, match="closed for good"):
        run(tracker.update(ref, GRAVER, TICKET, 2, True))


def test_a_workflow_that_leads_nowhere_is_said_with_what_it_offers(jira):
    tracker = to_jira(jira, close_transition="Close it")
    ref = run(tracker.create(TICKET, 1))
    with pytest.raises(Refused, match="OPS-1: no transition 'Close it'; its workflow offers Go In Progress, Go Done"):
        run(tracker.close(ref, CLOSED, TICKET, 2))


def test_a_transition_can_be_named(jira):
    tracker = to_jira(jira, close_transition="Go Done", reopen_transition="Go To Do")
    ref = run(tracker.create(TICKET, 1))
    run(tracker.close(ref, CLOSED, TICKET, 2))
    assert jira.issues[ref.key]["status"] == "Done"
    run(tracker.update(ref, TICKET, CLOSED, 3, True))
    assert jira.issues[ref.key]["status"] == "To Do"


def test_priorities_are_left_alone_unless_they_are_named(jira):
    ref = run(to_jira(jira, priorities=()).create(TICKET, 1))
    assert "priority" not in jira.issues[ref.key]


def test_what_jira_does_not_take_is_refused_in_its_own_words(jira):
    with pytest.raises(Refused, match=r"400 Bad Request: .*priority selected is invalid"):
        run(to_jira(jira, priorities=("P0", "P1", "P2", "P3")).create(TICKET, 1))


@pytest.mark.parametrize("make", ["servicenow", "jira"])
def test_one_that_was_deleted_is_missing(make, request):
    server = request.getfixturevalue(make)
    tracker = to_servicenow(server) if make == "servicenow" else to_jira(server)
    for call in (
        tracker.update(Ref("gone"), TICKET, None, 1, False),
        tracker.close(Ref("gone"), CLOSED, None, 1),
    ):
        with pytest.raises(Missing, match="404 Not Found"):
            run(call)


# --- answers, and who we are there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "failure"),
    [(400, Refused), (413, Refused), (422, Refused), (405, Refused), (403, Refused)]
    + [(code, Later) for code in (401, 408, 409, 425, 429, 500, 502, 503, 302)],
)
def test_what_will_never_be_taken_is_told_from_what_may_be(servicenow, status, failure):
    servicenow.script = [(status, {"Location": "/x"}, {"error": {"message": "no, because"}})]
    with pytest.raises((Refused, Later)) as caught:
        run(to_servicenow(servicenow).create(TICKET, 1))
    assert type(caught.value) is failure
    assert str(caught.value).startswith(f"{servicenow.url}: {status} ")
    assert "no, because" in str(caught.value)
    assert len(servicenow.asked) == 1, "no redirection is followed"


@pytest.mark.parametrize(
    ("said", "expected"), [("120", 120), ("date", 300), ("", 0), ("soon", 0), ("999999", 3600), ("-5", 0)]
)
def test_it_is_told_how_long_to_wait(servicenow, said, expected):
    value = formatdate(time.time() + 300, usegmt=True) if said == "date" else said
    servicenow.script = [(429, {"Retry-After": value}, None)]
    with pytest.raises(Later) as caught:
        run(to_servicenow(servicenow).find(TICKET))
    assert abs(caught.value.retry_after_s - expected) <= 2


def test_no_failure_shows_the_secret(servicenow):
    tracker = to_servicenow(servicenow, Secret(None, "S", {"S": "wrong-s3cret"}))
    with pytest.raises(Later, match="401") as caught:
        run(tracker.find(TICKET))
    said = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r} {tracker.where}"
    assert "wrong" not in said


def test_a_secret_may_be_replaced_while_it_runs(servicenow, tmp_path):
    file = tmp_path / "secret"
    tracker = to_servicenow(servicenow, Secret(file, "", {}))
    with pytest.raises(Later, match="No such file"):
        run(tracker.find(TICKET))
    file.write_text("s3cret\n")
    assert run(tracker.find(TICKET)) is None


def test_a_bearer_token_goes_without_a_user(receiver):
    run(HttpClient(receiver.url, SECRET).call("GET", "/x"))
    assert receiver.asked[0][2]["Authorization"] == "Bearer s3cret"


def test_what_does_not_answer_or_is_something_else_is_waited_for(servicenow):
    servicenow.script = [(200, {}, b"<html>Hibernating instance</html>"), (200, {}, [])]
    tracker = to_servicenow(servicenow)
    for why in ("not JSON", "not the answer that is expected"):
        with pytest.raises(Later, match=why):
            run(tracker.find(TICKET))
    servicenow.close()
    with pytest.raises(Later, match="refused"):
        run(tracker.find(TICKET))


ODD = [None, [], "ok", {}, {"result": None}, {"issues": None}, {"result": {}, "issues": {}}, {"key": 7}]
ODD += [{"result": [{"sys_id": None}], "issues": [{"key": "OPS-1"}]}, {"result": ["x"], "issues": [None]}]


@pytest.mark.parametrize("said", ODD)
@pytest.mark.parametrize("make", ["servicenow", "jira"])
def test_an_answer_of_another_form_is_waited_for_whatever_was_asked(make, request, said):
    """A gateway may answer for the ticket system, with a status of 200."""
    server = request.getfixturevalue(make)
    tracker = {"servicenow": to_servicenow, "jira": to_jira}[make](server)
    for ask in (tracker.find(TICKET), tracker.create(TICKET, 1)):
        server.script = [(200, {}, said)]
        with pytest.raises(Later):
            run(ask)
    ref = run(tracker.create(TICKET, 1))
    for script in ([(200, {}, said)], [None, (200, {}, said)], [None, None, (200, {}, said)]):
        server.script = script
        with contextlib.suppress(Later):
            run(tracker.close(ref, CLOSED, TICKET, 1))
        with contextlib.suppress(Later):
            run(tracker.update(ref, TICKET, TICKET, 2, True))


# --- webhook ----------------------------------------------------------------------------------------------------


def events(server, secret=None):
    """The events that were received; with a secret only those whose signature holds."""
    found = []
    for _, _, headers, body in server.asked:
        headers = {name.lower(): value for name, value in headers.items()}
        if secret:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
            assert headers["webhook-signature"] == f"v1,{expected}"
            assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        assert headers["content-type"].startswith("application/cloudevents+json")
        found.append(json.loads(body))
    return found


@pytest.mark.parametrize(
    ("secret", "key"), [("plain words", b"plain words"), ("whsec_" + base64.b64encode(b"key" * 8).decode(), b"key" * 8)]
)
def test_events_are_signed(receiver, secret, key):
    hook = TicketWebhook(HttpClient(f"{receiver.url}/hook", Secret(None, "", {})), Secret(None, "S", {"S": secret}))
    run(hook.create(TICKET, 1))
    (event,) = events(receiver, key)
    assert event["id"] == {name.lower(): value for name, value in receiver.asked[0][2].items()}["webhook-id"]
    assert "Authorization" not in receiver.asked[0][2]


def test_events_are_cloud_events_and_a_repeated_one_has_the_same_id(receiver):
    hook = TicketWebhook(HttpClient(f"{receiver.url}/hook", Secret(None, "", {})), Secret(None, "", {}))
    ref = run(hook.create(TICKET, 1))
    run(hook.create(TICKET, 1))
    run(hook.update(ref, GRAVER, TICKET, 2, False))
    run(hook.close(ref, CLOSED, GRAVER, 3))
    run(hook.update(ref, TICKET, CLOSED, 4, True))
    found = events(receiver)
    assert receiver.said() == 5 * ["POST /hook"]
    assert [event["type"] for event in found] == [
        f"gpu-vitals.ticket.{what}" for what in ("created", "created", "updated", "closed", "reopened")
    ]
    ids = [event["id"] for event in found]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    for event in found:
        assert {"specversion", "id", "source", "type", "subject", "time", "data"} <= event.keys()
        assert (event["specversion"], event["source"], event["subject"]) == ("1.0", "/gpu-vitals/c1", TICKET.id)
    assert found[2]["data"]["action"] == "remove-node"


def test_a_receiver_may_answer_anything_that_is_2xx(receiver):
    receiver.script = [(200, {}, b"ok, thanks")]
    hook = TicketWebhook(HttpClient(receiver.url, Secret(None, "", {})), Secret(None, "", {}))
    assert run(hook.create(TICKET, 1)) == Ref(TICKET.correlation)
