"""Who signs commands to nodes: the table `[commander]` of the settings file."""

from __future__ import annotations

from typing import Annotated

import msgspec


class CommanderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """enabled: send what cases ask their nodes to do; else only say what would be sent. key: file of the private key
    that signs it. per_s: commands a second at most, all nodes together.
    """

    enabled: bool = False
    key: str | None = None
    per_s: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 5.0
