from __future__ import annotations

from processors.signal import discover
from producers.watched import WATCHED
from schemas.fields import FIELDS, NVLINK_CRC_FLIT, Kind


def test_what_any_signal_judges_is_watched() -> None:
    declared = {field for signal in discover() for field in signal.fields}
    assert declared
    assert declared - set(WATCHED) == set()


def test_what_the_specification_collects_is_watched() -> None:
    specified = {310, 311, 150, 155, 100, 101, 202, 409, 390, 391, 392, *NVLINK_CRC_FLIT}
    assert specified - set(WATCHED) == set()


def test_each_watched_field_is_known_once_and_can_stand_in_a_frame() -> None:
    assert len(set(WATCHED)) == len(WATCHED)
    assert {FIELDS[field].kind for field in WATCHED} <= {Kind.GAUGE, Kind.COUNTER, Kind.LEVEL, Kind.FLAG}
