"""Signatures of commands: made by one, checked by another, and worthless for any other command."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import commands, records, signing

PRIVATE, OTHER = bytes(range(32)), bytes(range(1, 33))
PUBLIC = signing.public_half(PRIVATE)
COMMAND = commands.signed(
    records.Command(
        ts=1_767_225_600_000,
        cluster="c1",
        node="n1",
        id="x1",
        action="diagnose",
        uuid="GPU-1",
        bdf="0000:1b:00",
        boot="b1",
        sequence=7,
        expires=1_767_225_660_000,
        parameters={"level": 2},
        author="ops",
        case="inc-1",
    ),
    "k1",
    PRIVATE,
)
OTHER_VALUES = {
    "v": 2,
    "ts": 1,
    "cluster": "c2",
    "node": "n2",
    "id": "x2",
    "action": "reset",
    "uuid": "GPU-2",
    "bdf": "0000:1c:00",
    "boot": "b2",
    "sequence": 8,
    "expires": 0,
    "parameters": {"level": 3},
    "author": "",
    "case": "inc-2",
    "key_id": "k2",
}
decode = msgspec.json.Decoder(records.Command).decode


def test_a_signature_outlives_the_wire_and_the_order_of_keys_on_it():
    again = decode(records.encode(COMMAND))
    assert commands.is_authentic(again, PUBLIC)
    reordered = msgspec.json.encode(dict(reversed(msgspec.json.decode(records.encode(COMMAND)).items())))
    assert reordered != records.encode(COMMAND)
    assert commands.is_authentic(decode(reordered), PUBLIC)


@pytest.mark.parametrize("field", [name for name in records.Command.__struct_fields__ if name != "signature"])
def test_no_field_can_be_changed_under_a_signature(field):
    assert not commands.is_authentic(msgspec.structs.replace(COMMAND, **{field: OTHER_VALUES[field]}), PUBLIC)


def test_another_key_made_another_signature():
    assert not commands.is_authentic(COMMAND, signing.public_half(OTHER))


@given(st.text() | st.binary(max_size=80).map(lambda data: base64.b64encode(data).decode()))
def test_nothing_else_is_a_signature(text):
    assert not commands.is_authentic(msgspec.structs.replace(COMMAND, signature=text), PUBLIC)


def test_what_this_version_does_not_know_is_not_silently_dropped_from_what_was_signed():
    """A restriction that a newer issuer adds must not vanish on an older agent."""
    newer = msgspec.json.decode(commands.to_sign(COMMAND).removeprefix(commands.CONTEXT)) | {"only_at_night": True}
    assert commands.CONTEXT + msgspec.json.encode(newer) != commands.to_sign(decode(msgspec.json.encode(newer)))
