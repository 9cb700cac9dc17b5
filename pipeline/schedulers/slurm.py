"""Slurm as an operator configures it, or what is wrong with that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageProblem
from pipeline.schedulers.settings import SlurmSettings
from sinks.schedulers.adapter import Adapter
from sinks.schedulers.slurm.access import Access
from sinks.schedulers.slurm.adapter import Slurm
from sinks.schedulers.slurm.commands import Commands
from sinks.schedulers.slurm.names import NodeNames
from sinks.schedulers.slurm.node import is_name
from sinks.schedulers.slurm.rest import Rest
from sinks.schedulers.slurm.rest_client import UNIX, RestClient

LOCAL = ("127.0.0.1", "::1", "localhost")


def build(settings: SlurmSettings, environment: Mapping[str, str] = os.environ) -> Adapter:
    """Asks Slurm nothing. Raises UsageProblem."""
    for ours, name in settings.nodes.items():
        if not is_name(name):
            raise UsageProblem(f"slurm.nodes: {ours}: not the name of one node: {name!r}", 'HOST = "NODENAME"')
    access: Access
    if settings.access == "rest":
        access = Rest(_client(settings))
    else:
        access = Commands(settings.commands_dir, settings.conf, settings.deadline_s, environment)
    return Slurm(access, NodeNames(settings.nodes, settings.node_suffix), settings.cancel)


def _client(settings: SlurmSettings) -> RestClient:
    url = settings.rest_url
    if not url.startswith(UNIX):
        _check(url, bool(settings.rest_token_file))
    elif url == UNIX:
        raise UsageProblem("slurm.rest_url: names no socket", 'rest_url = "unix:/run/slurmrestd/slurmrestd.socket"')
    if bool(settings.rest_user) != bool(settings.rest_token_file):
        raise UsageProblem("slurm: a user without a token, or the reverse", "set both rest_user and rest_token_file")
    token = Path(settings.rest_token_file) if settings.rest_token_file else None
    return RestClient(url, settings.rest_user, token, settings.deadline_s)


def _check(url: str, has_token: bool) -> None:
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
        )
        named = parts.username is not None or parts.password is not None
    except ValueError:
        sound = named = False
    if not sound or named:
        shown = "" if named else f": {url!r}"  # not repeated: it may hold a secret
        raise UsageProblem(f"slurm.rest_url: not an address{shown}", 'rest_url = "http://HOST:6820", or "unix:PATH"')
    if has_token and parts.scheme == "http" and parts.hostname not in LOCAL:
        raise UsageProblem(f"slurm.rest_url: {url}: the token would go unencrypted", "use https")
