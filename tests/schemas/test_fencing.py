"""What a node refuses: one row for each reason, and no way round any of them."""

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import commands, fencing, records, signing
from schemas.commands import PublicKey
from schemas.fencing import Heard, Here

NOW = 1_767_225_600_000
PRIVATE = bytes(range(32))
KEYS = {"k1": PublicKey(signing.public_half(PRIVATE)), "old": PublicKey(signing.public_half(PRIVATE), NOW)}
HERE = Here(node="n1", cluster="default", boot="b1", gpus={"GPU-1": "0000:1b:00", "GPU-2": "0000:1c:00"})
HEARD = Heard(sequence=10, ids={"old"})


def command(**changes):
    fields = {
        "ts": NOW - 1_000,
        "node": "n1",
        "id": "x1",
        "action": "reset",
        "uuid": "GPU-1",
        "bdf": "0000:1b:00",
        "boot": "b1",
        "sequence": 11,
        "expires": NOW + 60_000,
    }
    return records.Command(**(fields | changes))


def refusal(given, key_id="k1", heard=HEARD, now_ms=NOW):
    """All fences, in the order in which they stand."""
    said = commands.signed(given, key_id, PRIVATE)
    return (
        fencing.unauthentic(said, KEYS, now_ms)
        or fencing.elsewhere(said, HERE)
        or fencing.untimely(said, now_ms)
        or fencing.repeated(said, heard, now_ms)
        or fencing.impossible(said, HERE)
    )


def test_what_is_as_it_shall_be_passes():
    assert refusal(command()) is None
    assert refusal(command(action="diagnose", parameters={"level": 3})) is None
    assert refusal(command(action="cancel", uuid="", bdf="", boot="", parameters={"command": "x0"})) is None
    assert refusal(command(bdf="")) is None
    assert refusal(command(sequence=NOW)) is None


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"node": "n2"}, "node", "it is for node 'n2'"),
        ({"cluster": "c2"}, "node", "of cluster 'c2'"),
        ({"ts": NOW + 60_001, "expires": NOW + 70_000}, "clock", "one of the two clocks is wrong"),
        ({"expires": 0}, "expiry", "does not say when it expires"),
        ({"expires": NOW - 1_000 + 3_600_001}, "expiry", "the longest is 3600 s"),
        ({"expires": NOW}, "expired", "expired 0 s ago"),
        ({"expires": NOW - 500}, "expired", "expired 0.5 s ago"),
        ({"id": "old"}, "repeated", "answered before"),
        ({"sequence": 10}, "sequence", "10 is not newer than 10"),
        ({"sequence": 0}, "sequence", "0 is not newer than 10"),
        ({"sequence": NOW + 60_001}, "sequence", "beyond the present time"),
        ({"id": ""}, "malformed", "no id"),
        ({"action": "format"}, "action", "knows no command 'format'; it knows reset, diagnose, cancel"),
        ({"action": "cancel"}, "malformed", "which to cancel"),
        ({"action": "diagnose", "parameters": {"level": 5}}, "malformed", "level 1 to 4, not 5"),
        ({"action": "diagnose", "parameters": {"level": "-r 3"}}, "malformed", "not '-r 3'"),
        ({"uuid": ""}, "gpu", "names no GPU"),
        ({"uuid": "GPU-3"}, "gpu", "there is no GPU GPU-3"),
        ({"bdf": "0000:1c:00"}, "gpu", "is at 0000:1b:00 now, not at 0000:1c:00"),
        ({"boot": ""}, "boot", "during which boot"),
        ({"boot": "b0"}, "boot", "started anew since"),
    ],
)
def test_one_thing_wrong_is_enough(changes, reason, words):
    found = refusal(command(**changes))
    assert found is not None
    assert found.reason == reason
    assert words in found.text


def test_a_key_that_is_not_known_or_has_expired_signs_nothing():
    assert refusal(command(), key_id="k2") == ("key", "its key 'k2' is not among those this node knows: k1, old")
    assert refusal(command(), key_id="old") == ("key", "its key 'old' has expired")
    early = command(ts=NOW - 2_000, expires=NOW)
    assert refusal(early, key_id="old", now_ms=NOW - 1) is None


def test_without_a_signature_or_with_that_of_another_command_nothing_is_believed():
    assert fencing.unauthentic(command(), KEYS, NOW) == ("signature", "it is not signed")
    moved = msgspec.structs.replace(commands.signed(command(), "k1", PRIVATE), uuid="GPU-2", bdf="0000:1c:00")
    assert fencing.unauthentic(moved, KEYS, NOW) == ("signature", "its signature is not that of key 'k1'")


def test_without_the_library_everything_is_refused_and_the_remedy_named(monkeypatch):
    said = commands.signed(command(), "k1", PRIVATE)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    found = fencing.unauthentic(said, KEYS, NOW)
    assert found == ("signature", fencing.NO_LIBRARY)


def test_a_machine_that_cannot_tell_its_boot_id_does_nothing():
    blind = HERE._replace(boot="")
    assert fencing.impossible(command(boot=""), blind).reason == "boot"
    assert fencing.impossible(command(), blind).reason == "boot"


@given(
    ts=st.integers(NOW - 10_000_000, NOW + 10_000_000),
    life_ms=st.integers(-10_000_000, 10_000_000),
    now_ms=st.integers(NOW - 10_000_000, NOW + 10_000_000),
)
def test_nothing_is_done_late_or_by_a_clock_that_is_more_than_a_minute_behind(ts, life_ms, now_ms):
    if fencing.untimely(command(ts=ts, expires=ts + life_ms), now_ms) is None:
        assert ts - 60_000 <= now_ms < ts + life_ms
        assert life_ms <= 3_600_000


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30)), max_size=60))
def test_in_any_order_no_sequence_and_no_id_passes_twice(said):
    passed, heard = [], Heard(0, set())
    for id_, sequence in said:
        given_ = command(id=id_, sequence=sequence)
        if fencing.repeated(given_, heard, NOW) is None:
            passed.append((id_, sequence))
            heard = Heard(sequence, {*heard.ids, id_})
    assert [sequence for _, sequence in passed] == sorted({sequence for _, sequence in passed})
    assert len({id_ for id_, _ in passed}) == len(passed)
