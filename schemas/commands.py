"""Commands to nodes: which there are, and how they are signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schemas import signing
from schemas.records import Command

RESET, DIAGNOSE, CANCEL = "reset", "diagnose", "cancel"
ACTIONS = (RESET, DIAGNOSE, CANCEL)
KEY_BYTES = 32  # of both halves of an Ed25519 key
CONTEXT = b"gpu-vitals command v1\n"  # a signature made for anything else is none here


class PublicKey(NamedTuple):
    """public: 32 bytes. expires: ms, from then on it signs nothing; None = never."""

    public: bytes
    expires: int | None = None


Keys = Mapping[str, PublicKey]  # by key_id


def to_sign(command: Command) -> bytes:
    """What is signed: everything that the command says but the signature."""
    return signing.to_sign(CONTEXT, command)


def signed(command: Command, key_id: str, private: bytes) -> Command:
    """The command with its signature. private: the 32 bytes of a key (its seed). Raises ImportError."""
    return signing.signed(CONTEXT, command, key_id, private)


def is_authentic(command: Command, public: bytes) -> bool:
    """Whether the signature is of exactly this command, by the owner of that key. Raises ImportError."""
    return signing.is_authentic(CONTEXT, command, public)


def cancel_id(command: str) -> str:
    """Of the command that cancels the one of that id."""
    return f"{command}.{CANCEL}"
