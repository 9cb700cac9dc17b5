"""What the agent may do to its node: the table `[commands]` of the settings file."""

from __future__ import annotations

from typing import Annotated

import msgspec

Deadline = Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)]


class CommandSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """enabled: do what is commanded; else only say what would have been done. keys: file of the public keys whose
    commands are believed. nvidia_smi, dcgmi: the programs. reset_s, diagnose_s: after which they are killed.
    at_once: how many GPUs of the node may be acted on at a time.
    """

    enabled: bool = False
    keys: str | None = None
    nvidia_smi: str = "nvidia-smi"
    dcgmi: str = "dcgmi"
    reset_s: Deadline = 60.0
    diagnose_s: Deadline = 300.0
    at_once: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
