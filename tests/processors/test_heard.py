"""Whom operators' words are believed: table of forged, old, repeated and unauthorised ones."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.heard import AHEAD_MS, OLD_MS, STAGE, Heard
from schemas.operator_keys import OperatorKey, Operators
from schemas.operators import signed
from schemas.records import Operator
from schemas.signing import public_half

NOW = 1_767_225_600_000
ANN, BOB = b"a" * 32, b"b" * 32


def key(private: bytes, *may: str, expires: datetime | None = None) -> OperatorKey:
    return OperatorKey(public=base64.b64encode(public_half(private)).decode(), may=may, expires=expires)


KEYS: Operators = {
    "ann": key(ANN, "hold", "release"),
    "old": key(ANN, "hold", expires=datetime(2025, 1, 1, tzinfo=UTC)),
}


def hold(**other: Any) -> Operator:
    said: dict[str, Any] = {"ts": NOW, "node": "n1", "action": "hold", "until": NOW + 1, "id": "i", "author": "ann"}
    return Operator(**{**said, **other})


def test_a_word_is_believed_once() -> None:
    heard, word = Heard(), signed(hold(), "ann", ANN)
    assert heard.refusal(word, KEYS, NOW) == ""
    assert heard.refusal(word, KEYS, NOW + 1000) == "it was said before, under the same id 'i'"
    assert Heard(heard.save()).refusal(word, KEYS, NOW + 1000) != "", "a restart forgets nothing"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (hold(), "not signed"),
        (hold(key_id="ann", signature="AAAA"), "not that of key"),
        (signed(hold(), "ann", BOB), "not that of key 'ann'"),
        (signed(hold(), "eve", BOB), "key 'eve' is not among"),
        (signed(hold(), "old", ANN), "'old' has expired"),
        (signed(hold(action="restore"), "ann", ANN), "may not say 'restore'; it may hold, release"),
        (signed(hold(id=""), "ann", ANN), "no id"),
        (signed(hold(note="x" * 1001), "ann", ANN), "more than 1000 characters"),
        (signed(hold(id=STAGE), "ann", ANN), "not for operators"),
        (signed(hold(ts=NOW - OLD_MS - 1000), "ann", ANN), "301 s before it came"),
        (signed(hold(ts=NOW + AHEAD_MS + 1000), "ann", ANN), "from now"),
    ],
)
def test_where_keys_are_declared_others_are_refused(word: Operator, why: str) -> None:
    heard = Heard()
    assert why in heard.refusal(word, KEYS, NOW)
    assert heard.save() == [], "nothing of it is remembered: it cannot shut out the true one"


@pytest.mark.parametrize("field", ["node", "uuid", "rack", "author", "note", "until", "weight", "id", "ts"])
def test_a_signature_covers_all_that_is_said(field: str) -> None:
    changed: Any = {"until": NOW + 2, "weight": 1.0, "ts": NOW - 1}.get(field, "other")
    word = msgspec.structs.replace(signed(hold(), "ann", ANN), **{field: changed})
    assert "not that of key" in Heard().refusal(word, KEYS, NOW)


def test_without_keys_anybody_is_heard_but_nothing_old_and_nothing_twice() -> None:
    heard = Heard()
    assert heard.refusal(hold(), {}, NOW) == ""
    assert "said before" in heard.refusal(hold(), {}, NOW)
    assert "before it came" in heard.refusal(hold(id="j"), {}, NOW + OLD_MS + 1)


@given(st.lists(st.tuples(st.integers(0, 400_000), st.sampled_from("abc"), st.integers(0, 900_000))))
def test_no_word_counts_twice_however_late_it_comes_again(said: list[tuple[int, str, int]]) -> None:
    heard, believed = Heard(), set()
    for ts, id, append in sorted(said, key=lambda each: each[2]):
        if not heard.refusal(hold(ts=NOW + ts, id=f"{id}{ts}"), {}, NOW + append):
            assert (ts, id) not in believed
            believed.add((ts, id))


@pytest.mark.parametrize(
    "given_",
    [
        {"public": "AAAA", "may": ["hold"]},
        {"public": base64.b64encode(ANN).decode(), "may": ["explode"]},
        {"public": base64.b64encode(ANN).decode(), "may": ["hold"], "expires": "2027-01-01T00:00:00"},
        {"public": base64.b64encode(ANN).decode()},
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_policy(given_: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given_, OperatorKey)
