"""The adapter of the HTTP contract, as the table `[scheduler]` describes it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageProblem
from pipeline.schedulers.settings import SchedulerSettings
from sinks.schedulers.http import HttpScheduler
from sinks.tickets.http_client import Secret
from sinks.tickets.tracker import Later

LOCAL = ("127.0.0.1", "localhost", "::1")


def build(settings: SchedulerSettings, environment: Mapping[str, str]) -> HttpScheduler:
    """Raises UsageProblem. A token is read here once, so that a wrong file shows at the start."""
    token = Secret(Path(settings.token_file) if settings.token_file else None, settings.token_env, environment)
    _check_url(settings.url, bool(token))
    if not settings.owner.strip():
        raise UsageProblem("scheduler.owner: empty", 'owner = "gpu-vitals"')
    if token:
        try:
            token.read()
        except Later as error:
            raise UsageProblem(f"scheduler: {error}", "name a `token_file`, or a `token_env`") from None
    try:
        return HttpScheduler(settings.url, token, settings.owner, Path(settings.ca_file) if settings.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageProblem(f"scheduler.ca_file: {settings.ca_file}: {error}", "a file of certificates, PEM") from None


def _check_url(url: str, has_token: bool) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        named = parts.username is not None or parts.password is not None
    except ValueError:
        sound = named = False
    if not sound:
        raise UsageProblem(f"scheduler.url: not an address: {url!r}", 'url = "https://HOST"')
    if named:  # not repeated: it may hold a secret
        raise UsageProblem("scheduler.url: holds a user or a password", "a token goes to `token_file`")
    if parts.scheme == "http" and has_token and parts.hostname not in LOCAL:
        raise UsageProblem(f"scheduler.url: {url}: the token would go unencrypted", "use https")
