"""Ed25519 signatures (RFC 8032) of records. The library is loaded where one is made or checked."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from schemas.records import Command, Operator

Signed = TypeVar("Signed", Command, Operator)

_sorted = msgspec.json.Encoder(order="sorted").encode


def to_sign(context: bytes, record: Signed) -> bytes:
    """What is signed: everything that the record says but the signature, in one form whoever encodes it.

    context: what the signature is for; one made for anything else is none here.
    """
    return context + _sorted(msgspec.structs.replace(record, signature=""))


def signed(context: bytes, record: Signed, key_id: str, private: bytes) -> Signed:
    """The record with its signature. private: the 32 bytes of a key (its seed). Raises ImportError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    unsigned = msgspec.structs.replace(record, key_id=key_id, signature="")
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(to_sign(context, unsigned))
    return msgspec.structs.replace(unsigned, signature=base64.b64encode(signature).decode())


def is_authentic(context: bytes, record: Signed, public: bytes) -> bool:
    """Whether the signature is of exactly this record, by the owner of that key. Raises ImportError."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = base64.b64decode(record.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, to_sign(context, record))
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def public_half(private: bytes) -> bytes:
    """Raises ImportError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
