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
