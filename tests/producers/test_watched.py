from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from processors.signal import discover
from producers.watched import WATCHED, in_words
from schemas.fields import FIELDS, NVLINK_CRC_FLIT, RETIRED_SBE, Kind


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


@given(st.sets(st.sampled_from(WATCHED), min_size=1))
def test_the_list_accounts_for_every_field(some: set[int]) -> None:
    said = in_words(some)
    names, _, more = re.fullmatch(r"(.*?)( and (\d+) more)?", said).groups()  # type: ignore[union-attr]
    links = re.search(r"\((\d+) fields?\)", names)
    counted = sum(1 for name in names.split(", ") if "(" not in name) + int(more or 0) + (int(links[1]) if links else 0)
    assert counted == len(some)


def test_links_are_one_name() -> None:
    some = {RETIRED_SBE, *NVLINK_CRC_FLIT}
    assert in_words(some) == "RETIRED_SBE, NVLINK_CRC_FLIT_ERROR_COUNT of 18 links (18 fields)"
    assert in_words({NVLINK_CRC_FLIT[0]}) == "NVLINK_CRC_FLIT_ERROR_COUNT of 1 link (1 field)"
