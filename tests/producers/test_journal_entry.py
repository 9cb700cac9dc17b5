from __future__ import annotations

import json
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.journal_entry import read_entry
from schemas.kernel_prefix import Clock, read_prefix

NOW_US = 1_767_225_600_123_456


def line(message: object = "NVRM: x", **fields: object) -> bytes:
    entry = {
        "__CURSOR": "s=1;i=2",
        "__REALTIME_TIMESTAMP": str(NOW_US),
        "__MONOTONIC_TIMESTAMP": "60000000",
        "_SOURCE_MONOTONIC_TIMESTAMP": "60000000",
        "SYSLOG_IDENTIFIER": "kernel",
        "MESSAGE": message,
    }
    return json.dumps(entry | fields).encode()


@given(st.binary() | st.text().map(str.encode))
def test_whatever_is_no_entry_is_none_and_no_crash(data: bytes) -> None:
    assert read_entry(data) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"__CURSOR": None},
        {"__REALTIME_TIMESTAMP": "soon"},
        {"__REALTIME_TIMESTAMP": "9" * 40},
        {"__MONOTONIC_TIMESTAMP": "-"},
        {"_SOURCE_MONOTONIC_TIMESTAMP": "x"},
        {"MESSAGE": [999]},
        {"MESSAGE": {"a": 1}},
    ],
)
def test_an_entry_with_something_else_in_it_is_none(fields: dict[str, object]) -> None:
    assert read_entry(line(**fields)) is None


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1), st.integers(0, 4_000_000_000_000_000)
)
def test_time_and_text_are_read_back_as_they_were_written(text: str, us: int) -> None:
    entry = read_entry(line(text, __REALTIME_TIMESTAMP=str(us)))
    assert entry is not None
    assert entry.ts == us // 1000
    prefix = read_prefix("".join(each.decode() for each in entry.lines).removesuffix("\n"), Clock(timezone=UTC))
    assert (prefix.text, prefix.ts, prefix.node, prefix.quoted) == (text, us // 1000, None, False)


@given(st.binary())
def test_bytes_come_as_arrays_and_are_bytes_again(data: bytes) -> None:
    entry = read_entry(line(list(data)))
    assert entry is not None
    assert b"\n".join(each[:-1].split(b" ", 1)[1] for each in entry.lines) == data


@pytest.mark.parametrize(
    ("uptime_s", "said_s", "waited_s"),
    [
        (60.0, 53.0, 7.0),  # before there was a journal
        (60.0, 60.0, 0.0),
        (31e6, 31e6 - 600.0, 0.0),  # a clock that has strayed for a year is no wait
        (31e6, 31e6 + 600.0, 0.0),
    ],
)
def test_an_entry_has_the_time_at_which_it_was_said(uptime_s: float, said_s: float, waited_s: float) -> None:
    uptime, said = str(int(1e6 * uptime_s)), str(int(1e6 * said_s))
    entry = read_entry(line(__MONOTONIC_TIMESTAMP=uptime, _SOURCE_MONOTONIC_TIMESTAMP=said))
    assert entry is not None
    assert entry.ts == (NOW_US - int(1e6 * waited_s)) // 1000


def test_without_the_kernels_own_time_that_of_the_journal_counts() -> None:
    entry = read_entry(line(_SOURCE_MONOTONIC_TIMESTAMP=None))
    assert entry is not None
    assert entry.ts == NOW_US // 1000


def test_of_several_messages_the_first_counts_and_of_none_nothing() -> None:
    several, none = read_entry(line(["one", "two"])), read_entry(line(None))
    assert several is not None
    assert none is not None
    assert several.lines[0].endswith(b" one\n")
    assert none.lines[0].split(b" ", 1)[1] == b"\n"
