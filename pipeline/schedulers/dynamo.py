"""NVIDIA Dynamo as an operator configures it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from urllib.parse import urlsplit

from pipeline.errors import UsageProblem
from pipeline.schedulers.settings import DynamoSettings
from sinks.schedulers.adapter import Adapter
from sinks.schedulers.dynamo.adapter import Dynamo, ForcingDynamo
from sinks.schedulers.dynamo.discovery import Discovery
from sinks.schedulers.dynamo.etcd import EtcdDiscovery
from sinks.schedulers.dynamo.files import FileDiscovery
from sinks.schedulers.dynamo.operator_command import NAMES, OperatorCommand
from sinks.schedulers.dynamo.saved import CannotRemember, Saved
from sinks.schedulers.dynamo.workers import BadMapping, GpuMap
from sinks.tickets.http_client import Secret
from sinks.tickets.tracker import Later

HERE = ("127.0.0.1", "localhost", "::1")


def build(settings: DynamoSettings, environment: Mapping[str, str], table: str = "dynamo") -> Adapter:
    """table: where the settings stand, for messages. Raises UsageProblem; nothing is asked of Dynamo yet."""
    gpu_map = GpuMap(Path(settings.gpu_map) if settings.gpu_map else None)
    try:
        gpu_map.workers()
    except BadMapping as error:
        raise UsageProblem(f"{table}.gpu_map: {error}") from None
    if not settings.serving:
        raise UsageProblem(f"{table}.serving: names no endpoint", 'serving = ["generate"]')
    stop = _command(settings.remove_command, settings.command_s, f"{table}.remove_command")
    force = _command(settings.force_command, settings.command_s, f"{table}.force_command")
    discovery = _files(settings, table) if settings.discovery == "file" else _etcd(settings, environment, table)
    try:
        saved = Saved(Path(settings.state_dir))
    except CannotRemember as error:
        raise UsageProblem(f"{table}.state_dir: {error}", "a directory of its own, which outlives us") from None
    if force:
        return ForcingDynamo(discovery, saved, gpu_map, settings.serving, stop, force)
    return Dynamo(discovery, saved, gpu_map, settings.serving, stop)


def _files(settings: DynamoSettings, table: str) -> Discovery:
    if not settings.file_kv:
        raise UsageProblem(f"{table}.file_kv: missing", "the directory that the workers have as DYN_FILE_KV")
    if not Path(settings.file_kv).is_dir():
        raise UsageProblem(f"{table}.file_kv: {settings.file_kv}: not a directory", "the workers' DYN_FILE_KV")
    return FileDiscovery(Path(settings.file_kv))


def _etcd(settings: DynamoSettings, environment: Mapping[str, str], table: str) -> Discovery:
    if not settings.endpoints:
        raise UsageProblem(f"{table}.endpoints: missing", 'endpoints = ["http://HOST:2379"]')
    for endpoint in settings.endpoints:
        _check_endpoint(endpoint, bool(settings.user), f"{table}.endpoints")
    secret = Secret(Path(settings.secret_file) if settings.secret_file else None, settings.secret_env, environment)
    if settings.user:
        try:
            secret.read()
        except Later as error:
            raise UsageProblem(f"{table}: {error}", "name a `secret_file`, or a `secret_env`") from None
    return EtcdDiscovery(settings.endpoints, settings.user, secret, _context(settings, table))


def _check_endpoint(endpoint: str, with_password: bool, where: str) -> None:
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        bare = parts.path in ("", "/") and parts.username is None and parts.password is None and not parts.query
    except ValueError:
        sound = bare = False
    if not sound or not bare:
        raise UsageProblem(f"{where}: not the address of a member of etcd", 'endpoints = ["http://HOST:2379"]')
    if with_password and parts.scheme == "http" and parts.hostname not in HERE:
        raise UsageProblem(f"{where}: {endpoint}: the password would go unencrypted", "use https")


def _context(settings: DynamoSettings, table: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageProblem(f"{table}.ca_file: {settings.ca_file}: {error}", "a file of certificates, PEM") from None
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageProblem(
                f"{table}.cert_file: {settings.cert_file}: {error}", "a certificate and its key"
            ) from None
    return context


def _command(words: list[str], deadline_s: float, where: str) -> OperatorCommand | None:
    if not words:
        return None
    for word in words:
        try:
            names = {name for _, name, _, _ in Formatter().parse(word) if name is not None}
        except ValueError:
            names = set()  # braces that are none of ours
        if unknown := sorted(name for name in names if name.isidentifier() and name not in NAMES):
            help = "there are " + " and ".join(f"{{{name}}}" for name in NAMES)
            raise UsageProblem(f"{where}: nothing is known as {{{unknown[0]}}}", help)
    return OperatorCommand(words, deadline_s)
