"""What the settings make of commands: done, only looked at, or refused."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import UsageProblem
from pipeline.node_commands.keys import public_keys
from pipeline.node_commands.settings import CommandSettings
from schemas.commands import Keys

NEEDS_KEYS = "commands.enabled: needs commands.keys, a file of public keys"
HELP = "`gpu-vitals commands keygen` makes a key; docs/agent/commands.md"


class Mode(NamedTuple):
    """enabled: commands are done. keys: whose. words: the same for people."""

    enabled: bool
    keys: Keys
    words: str


def mode(settings: CommandSettings) -> Mode:
    """Raises UsageProblem: the keys cannot be read, or there are none and commands are enabled."""
    if settings.enabled and not settings.keys:
        raise UsageProblem(NEEDS_KEYS, HELP)
    keys = public_keys(settings.keys) if settings.keys else {}
    if settings.enabled:
        return Mode(True, keys, f"done, when signed by {', '.join(sorted(keys))}")
    if keys:
        return Mode(False, keys, "dry run: verified and answered, never done")
    return Mode(False, keys, "refused: no public key is known here")
