"""The policy: composed of the signals' own types, versioned by its content, wrong in no way that passes unseen."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.policies import PROFILES, load
from processors.policy import Policy, document_type, from_change, from_document, from_state, to_change, unit
from processors.signal import Signal, discover
from schemas.policy import Caps
from schemas.records import PolicyChange, encode

DEFAULT = from_document("default", {})


@pytest.mark.parametrize("name", PROFILES)
def test_a_policy_survives_its_record(name: str) -> None:
    policy = load(name)
    record = msgspec.json.decode(encode(to_change(policy, 7)), type=PolicyChange)
    assert (record.id, record.ts, record.node) == (policy.id, 7, "")
    again = from_change(record)
    assert (again.id, again.name) == (policy.id, name)
    assert again.values == msgspec.structs.replace(policy.values, reasons={})


def test_the_id_says_name_and_content() -> None:
    assert DEFAULT.id == from_document("default", {"node": {"improve_after_s": 300}}).id
    other = from_document("default", {"node": {"improve_after_s": 299.0}})
    assert other.id != DEFAULT.id
    assert other.id.startswith("default@")
    assert from_document("mine", {}).id.partition("@")[2] == DEFAULT.id.partition("@")[2]


def test_reasons_are_for_readers_and_change_nothing() -> None:
    assert from_document("default", {"reasons": {"node": "because"}}).id == DEFAULT.id


def test_every_signal_has_its_place_with_two_keys_that_all_have() -> None:
    for signal in discover():
        own = DEFAULT.signal(signal.name)
        assert own.enabled is True
        assert isinstance(own.caps, Caps)
        assert DEFAULT.of(signal) is own


def test_a_signal_that_is_not_registered_has_its_defaults() -> None:
    class Stranger(Signal):
        """Nobody knows it."""

        name = "stranger"

        class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
            limit_c: float = 3.0

    own = DEFAULT.of(Stranger())
    assert (own.limit_c, own.enabled, own.caps) == (3.0, True, Caps())


WRONG = {
    "$.signals": {"signals": {"temprature": {}}},
    "$.signals.temperature": {"signals": {"temperature": {"limit": {}}}},
    "$.signals.temperature.limits.warning": {"signals": {"temperature": {"limits": {"warning": "80 C"}}}},
    "$.signals.temperature.limits": {"signals": {"temperature": {"limits": {"warning": 90.0, "critical": 80.0}}}},
    "$.signals.temperature.caps": {"signals": {"temperature": {"caps": {"warning": 1.5}}}},
    "$.signals.xid.responses[...]": {"signals": {"xid": {"responses": {"31": "ignore"}}}},
    "$.signals.clocks.smoothing_s": {"signals": {"clocks": {"smoothing_s": -1.0}}},
    "$.signals.clocks.boost_mhz": {"signals": {"clocks": {"boost_mhz": 0.0}}},
    "$.signals.presence.failed_after_s": {"signals": {"presence": {"failed_after_s": 1e9}}},
    "$.node.improve_after_s": {"node": {"improve_after_s": -300.0}},
    "$.node.rates_every_s": {"node": {"rates_every_s": 0.0}},
    "$.cluster.gpus_out_share": {"cluster": {"gpus_out_share": 10}},
    "$.reasons[...]": {"reasons": {"node": 5}},
}


@pytest.mark.parametrize("path", WRONG)
def test_an_error_names_its_path(path: str) -> None:
    with pytest.raises(msgspec.ValidationError) as raised:
        from_document("x", WRONG[path])
    assert f"`{path}`" in str(raised.value)


def test_limits_that_are_infinite_are_no_limits() -> None:
    given = {"signals": {"temperature": {"limits": {"warning": float("inf")}}}}
    assert from_document("x", given).signal("temperature").limits.warning is None


def test_the_document_type_is_made_once() -> None:
    assert document_type() is document_type()
    assert isinstance(DEFAULT, Policy)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smoothing_s", "s"),
        ("node.improve_after_s", "s"),
        ("temperature_c", "C"),
        ("boost_mhz", "MHz"),
        ("slow_percent", "%"),
        ("errors_per_hour", "errors/h"),
        ("celsius_per_minute", "C/min"),
        ("xids_per_hour", "xids/h"),
        ("pages_count", ""),
        ("load_power_share", "share"),
        ("xid", ""),
    ],
)
def test_names_end_in_their_unit(name: str, expected: str) -> None:
    assert unit(name) == expected


def test_a_state_of_a_newer_version_is_applied_as_far_as_it_is_known_and_a_record_is_not() -> None:
    change = to_change(from_document("default", {"node": {"improve_after_s": 60.0}}), 0)
    change.document["signals"]["of_tomorrow"] = {"enabled": True}
    change.document["signals"]["temperature"]["of_tomorrow"] = 1.0
    change.document["cluster"]["of_tomorrow"] = 2
    with pytest.raises(msgspec.ValidationError, match="of_tomorrow"):
        from_change(change)
    assert from_state(change).values.node.improve_after_s == 60.0
