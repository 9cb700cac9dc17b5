"""What operators may say, and how it is signed: the same keys and the same form as commands to nodes."""

from __future__ import annotations

import base64
import binascii

import msgspec

from schemas.records import Operator

RESTORE, MAINTENANCE, END_MAINTENANCE = "restore", "maintenance", "end-maintenance"
HOLD, RELEASE = "hold", "release"
DRAIN, UNDRAIN = "drain", "undrain"
OVERRIDE, END_OVERRIDE = "override", "end-override"
PROCEED = "proceed"
ACTIONS = {
    RESTORE: "clears latched faults and ends the case",
    MAINTENANCE: "announces planned work until `until`",
    END_MAINTENANCE: "ends it",
    HOLD: "nothing discretionary, no removal and no reset until `until`, there or everywhere",
    RELEASE: "ends a hold, or a storm's hold",
    DRAIN: "takes out of service, as a case",
    UNDRAIN: "ends a case that an operator's drain has opened",
    OVERRIDE: "this `weight` until `until`, whatever is judged; suspected corruption excepted",
    END_OVERRIDE: "ends it",
    PROCEED: "what a case waits for an operator with may go on",
}
BY_POLICY = "the policy"  # the author of a "restore" that a passed diagnostic has brought about
CONTEXT = b"gpu-vitals operator v1\n"  # a signature made for anything else is none here

_sorted = msgspec.json.Encoder(order="sorted").encode


def to_sign(word: Operator) -> bytes:
    """What is signed: everything that the word says but the signature, in one form whoever encodes it."""
    return CONTEXT + _sorted(msgspec.structs.replace(word, signature=""))


def signed(word: Operator, key_id: str, private: bytes) -> Operator:
    """The word with its signature. private: the 32 bytes of a key (its seed). Raises ImportError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    unsigned = msgspec.structs.replace(word, key_id=key_id, signature="")
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(to_sign(unsigned))
    return msgspec.structs.replace(unsigned, signature=base64.b64encode(signature).decode())


def is_authentic(word: Operator, public: bytes) -> bool:
    """Whether the signature is of exactly this word, by the owner of that key. Raises ImportError."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = base64.b64decode(word.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, to_sign(word))
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True
