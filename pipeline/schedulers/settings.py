"""Whom the scheduler sink speaks to: the table `[scheduler]` of the settings file, and those of kinds of schedulers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class SchedulerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """to: the kind of scheduler, one of `pipeline.schedulers.build.ADAPTERS`. enabled: act, and report what comes of
    it; else only say what would be done.

    url, token_file, token_env, ca_file, owner: of "http". url: its address. token_file: holds the bearer token;
    token_env: else, the environment variable that does. ca_file: whom to trust instead of the machine's authorities.
    owner: how it knows us.
    """

    enabled: bool = False
    to: str | None = None
    url: str = ""
    token_file: str | None = None
    token_env: str = ""
    ca_file: str | None = None
    owner: str = "gpu-vitals"


class SlurmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """access: by scontrol, squeue and scancel, or by slurmrestd. deadline_s: for each call; Slurm's commands try for
    some 10 s before they say why they fail.

    commands_dir: of the commands; "": PATH's. conf: slurm.conf; "": as the commands find it.
    rest_url: http://HOST:6820, https://HOST, or unix:PATH. rest_user, rest_token_file: a JSON Web Token.
    node_suffix: what our names of nodes end with and Slurm's do not. nodes: Slurm's NodeName by our name.
    cancel: jobs that cannot be requeued are cancelled when a node must be emptied.
    """

    access: Literal["commands", "rest"] = "commands"
    deadline_s: Annotated[float, msgspec.Meta(ge=1.0, le=120.0)] = 20.0
    commands_dir: str = ""
    conf: str = ""
    rest_url: str = ""
    rest_user: str = ""
    rest_token_file: str | None = None
    node_suffix: str = ""
    nodes: dict[str, str] = {}
    cancel: bool = False


class DynamoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """discovery: how its workers find each other. file_kv: of discovery by files, their DYN_FILE_KV.

    endpoints: of discovery by etcd, members of one cluster. user: with it a password from secret_file, else from the
    environment variable secret_env. ca_file: whom to trust instead of the machine's authorities. cert_file, key_file:
    who we are, where etcd asks.
    state_dir: where records are kept while they are out; it must outlive us, and nobody else may use it.
    gpu_map: a file of UUID = "HOST:PORT", the worker's system server, for workers whose model cards do not name GPUs.
    serving: names of the endpoints that requests come in by.
    remove_command: stops the worker `{instance}`, whose system server is at `{address}`; none: nobody does for us.
    force_command: ends it at once, with what runs there; none: what runs cannot be ended. command_s: for each of them.
    """

    discovery: Literal["etcd", "file"] = "etcd"
    file_kv: str = ""
    endpoints: list[str] = []
    user: str = ""
    secret_file: str | None = None
    secret_env: str = ""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    state_dir: str = "/var/lib/gpu-vitals/dynamo"
    gpu_map: str | None = None
    serving: list[str] = msgspec.field(default_factory=lambda: ["generate"])
    remove_command: list[str] = []
    force_command: list[str] = []
    command_s: Annotated[float, msgspec.Meta(gt=0.0, le=600.0)] = 60.0
