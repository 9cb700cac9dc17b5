"""Commands to nodes, signed with Ed25519 (RFC 8032). The library is loaded where a signature is made or checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from schemas.records import Command

RESET, DIAGNOSE, CANCEL = "reset", "diagnose", "cancel"
ACTIONS = (RESET, DIAGNOSE, CANCEL)
KEY_BYTES = 32  # of both halves of an Ed25519 key
CONTEXT = b"gpu-vitals command v1\n"  # a signature made for anything else is none here

_sorted = msgspec.json.Encoder(order="sorted").encode


class PublicKey(NamedTuple):
    """public: 32 bytes. expires: ms, from then on it signs nothing; None = never."""

    public: bytes
    expires: int | None = None


Keys = Mapping[str, PublicKey]  # by key_id


def to_sign(command: Command) -> bytes:
    """What is signed: everything that the command says but the signature, in one form whoever encodes it."""
    return CONTEXT + _sorted(msgspec.structs.replace(command, signature=""))


def signed(command: Command, key_id: str, private: bytes) -> Command:
    """The command with its signature. private: the 32 bytes of a key (its seed). Raises ImportError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    unsigned = msgspec.structs.replace(command, key_id=key_id, signature="")
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(to_sign(unsigned))
    return msgspec.structs.replace(unsigned, signature=base64.b64encode(signature).decode())


def public_half(private: bytes) -> bytes:
    """Raises ImportError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def is_authentic(command: Command, public: bytes) -> bool:
    """Whether the signature is of exactly this command, by the owner of that key. Raises ImportError."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = base64.b64decode(command.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, to_sign(command))
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True
