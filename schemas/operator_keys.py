"""Who may speak to the fleet: public keys of operators, as a policy declares them. And times as people read them."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

import msgspec

from schemas.commands import KEY_BYTES
from schemas.operators import ACTIONS


class OperatorKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """public: Ed25519, 32 bytes in base64. may: the words that it may sign. expires: it signs nothing from then on."""

    public: str
    may: tuple[str, ...]
    expires: datetime | None = None

    def __post_init__(self) -> None:
        try:
            size = len(base64.b64decode(self.public, validate=True))
        except binascii.Error:
            size = 0
        if size != KEY_BYTES:
            raise ValueError(f"public: not {KEY_BYTES} bytes in base64; `gpu-vitals commands keygen` prints them")
        unknown = [action for action in self.may if action not in ACTIONS]
        if unknown:
            raise ValueError(f"may: no word of operators: {unknown[0]!r}; they are {', '.join(ACTIONS)}")
        if self.expires is not None and self.expires.tzinfo is None:
            raise ValueError("expires: names no time zone; end it with Z")

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.public)

    @property
    def expires_ms(self) -> int | None:
        return None if self.expires is None else int(self.expires.timestamp() * 1000)


Operators = dict[str, OperatorKey]  # by key_id; empty: words need no signature


def in_utc(ms: int) -> str:
    """`2026-01-01 04:01:12Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
