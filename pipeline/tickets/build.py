"""The sink that the settings ask for, or what is wrong with them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageProblem
from pipeline.tickets.settings import TicketSettings
from sinks.tickets.alertmanager import Alertmanager
from sinks.tickets.dry_run import DryRun
from sinks.tickets.file import FileTracker
from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.jira import Jira
from sinks.tickets.memory import CannotRemember, Memory
from sinks.tickets.servicenow import ServiceNow
from sinks.tickets.sink import TicketSink
from sinks.tickets.tracker import Later, Tracker
from sinks.tickets.webhook import TicketWebhook

STATE_DIR = Path("/var/lib/gpu-vitals/tickets")
URLS = {
    "servicenow": "https://INSTANCE.service-now.com",
    "jira": "https://SITE.atlassian.net",
    "webhook": "https://HOST/PATH",
    "alertmanager": "http://HOST:9093",
}
NEED_SECRET = ("servicenow", "jira")
PRIORITIES = 4
QUOTES = '"\\'


def ticket_sink(
    settings: TicketSettings, environment: Mapping[str, str], state_dir: Path | None = None
) -> TicketSink | None:
    """None: no tickets are asked for. state_dir: where what was sent is remembered, unless the settings say.

    Raises UsageProblem. A secret is read here once, so that a wrong file shows at the start.
    """
    if settings.to is None:
        return None
    tracker = _tracker(settings, environment)
    if not settings.enabled:
        return TicketSink(DryRun(tracker.where), Memory(None), settings.per_s, enabled=False)
    directory = Path(settings.state_dir) if settings.state_dir else state_dir or STATE_DIR
    try:
        memory = Memory(directory / f"tickets-{tracker.name}.sqlite")
    except CannotRemember as error:
        raise UsageProblem(str(error), "tickets.state_dir: a directory of its own for each fleet") from None
    return TicketSink(tracker, memory, settings.per_s)


def _tracker(settings: TicketSettings, environment: Mapping[str, str]) -> Tracker:
    if settings.to == "file":
        return FileTracker(Path(settings.directory))
    _check_url(settings)
    secret = Secret(Path(settings.secret_file) if settings.secret_file else None, settings.secret_env, environment)
    _check_secret(settings, secret)
    try:
        client = HttpClient(
            settings.url,
            secret if settings.to != "webhook" else Secret(None, "", {}),
            settings.user,
            Path(settings.ca_file) if settings.ca_file else None,
        )
    except (OSError, ssl.SSLError) as error:
        raise UsageProblem(f"tickets.ca_file: {settings.ca_file}: {error}", "a file of certificates, PEM") from None
    if settings.to == "servicenow":
        return ServiceNow(client, settings.close_code, settings.fields)
    if settings.to == "jira":
        return _jira(settings, client)
    return TicketWebhook(client, secret) if settings.to == "webhook" else Alertmanager(client)


def _jira(settings: TicketSettings, client: HttpClient) -> Jira:
    if not settings.project or any(letter in QUOTES for letter in settings.project):
        raise UsageProblem("tickets.project: not the key of a project", 'project = "OPS"')
    if len(settings.priorities) not in (0, PRIORITIES):
        raise UsageProblem("tickets.priorities: not four names", 'priorities = ["Highest", "High", "Medium", "Low"]')
    return Jira(
        client,
        settings.project,
        settings.issue_type,
        settings.priorities,
        settings.close_transition,
        settings.reopen_transition,
    )


def _check_url(settings: TicketSettings) -> None:
    try:
        parts = urlsplit(settings.url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        named = parts.username is not None or parts.password is not None
    except ValueError:
        sound = named = False
    if not sound:
        raise UsageProblem(f"tickets.url: not an address: {settings.url!r}", f'url = "{URLS[settings.to or ""]}"')
    if named:  # not repeated: it may hold the secret
        raise UsageProblem("tickets.url: holds a user or a password", "they go to `user` and `secret_file`")
    if parts.scheme == "http" and settings.to in NEED_SECRET and parts.hostname not in ("127.0.0.1", "localhost"):
        raise UsageProblem(f"tickets.url: {settings.url}: the secret would go unencrypted", "use https")


def _check_secret(settings: TicketSettings, secret: Secret) -> None:
    if not secret:
        if settings.to in NEED_SECRET:
            raise UsageProblem(f"tickets: {settings.to} needs a secret", "name a `secret_file`, or a `secret_env`")
        return
    try:
        secret.read()
    except Later as error:
        raise UsageProblem(f"tickets: {error}", "name a `secret_file`, or a `secret_env`") from None
