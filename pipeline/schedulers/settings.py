"""Whom the scheduler sink speaks to: the table `[scheduler]` of the settings file."""

from __future__ import annotations

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
