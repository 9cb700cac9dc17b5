"""What the agent keeps on disk: the table `[agent]` of the settings file."""

from __future__ import annotations

from typing import Annotated

import msgspec

SPOOL_BYTES = 256 << 20


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """spool_dir: directory for what Kafka does not have yet; one an agent. spool_bytes: how large it may grow."""

    spool_dir: str | None = None
    spool_bytes: Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 40)] = SPOOL_BYTES
