"""What operators may say, and how it is signed: the same keys and the same form as commands to nodes."""

from __future__ import annotations

from schemas import signing
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


def to_sign(word: Operator) -> bytes:
    """What is signed: everything that the word says but the signature."""
    return signing.to_sign(CONTEXT, word)


def signed(word: Operator, key_id: str, private: bytes) -> Operator:
    """The word with its signature. private: the 32 bytes of a key (its seed). Raises ImportError."""
    return signing.signed(CONTEXT, word, key_id, private)


def is_authentic(word: Operator, public: bytes) -> bool:
    """Whether the signature is of exactly this word, by the owner of that key. Raises ImportError."""
    return signing.is_authentic(CONTEXT, word, public)
