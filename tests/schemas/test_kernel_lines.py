"""Kernel and Fabric Manager lines, one by one: every form that is printed, its time and its node."""

from __future__ import annotations

from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from schemas.kernel_lines import LineReader, canonical_bdf, parse_message
from tests.schemas.kernel_log import (
    BOOT_MS,
    FORMS,
    LOST,
    NO_FAULTS,
    NOW_MS,
    OTHER_FORMS,
    PREFIXES,
    UNREADABLE,
    fields,
    ms,
    read,
)


@pytest.mark.parametrize(
    ("text", "bdf"),
    [
        ("0000:9b:00", "0000:9b:00"),
        ("PCI:0000:9b:00", "0000:9b:00"),
        ("00000000:9B:00.0", "0000:9b:00"),
        ("00000008:01:00.0", "0008:01:00"),
        ("PCI:0018:01:00.1", "0018:01:00"),
        ("00010000:01:00.0", "10000:01:00"),
        (" 9b:00.0\n", "0000:9b:00"),
        ("9b:00", None),
        ("0000:9b", None),
        ("12:34:56", None),
        ("000000000:9b:00.0", None),
        ("0000:9b:00.8", None),
        ("\u0660\u0660\u0660\u0660:9b:00", None),
        ("", None),
    ],
)
def test_every_form_of_an_address_becomes_one(text: str, bdf: str | None) -> None:
    assert canonical_bdf(text) == bdf


@pytest.mark.parametrize("text", FORMS)
def test_every_form_is_read_exactly(text: str) -> None:
    expected = {name: value for name, value in FORMS[text].items() if value != ""}
    assert fields(parse_message(text)) == expected
    assert [fields(event) for event in read(text)] == [expected]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_looks_like_a_fault_and_is_unreadable_stays_visible(text: str) -> None:
    [event] = read(text)
    assert (event.kind, event.raw, event.code, event.bdf) == ("unparsed", text, None, None)


@pytest.mark.parametrize("text", NO_FAULTS)
def test_other_lines_are_nothing(text: str) -> None:
    assert parse_message(text) is None
    assert read(text) == []


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("text", [LOST, *OTHER_FORMS])
def test_every_framing_gives_its_time_and_node(prefix: str, text: str) -> None:
    ts, node = PREFIXES[prefix]
    [event] = read(prefix + text + "\n", boot_ms=BOOT_MS, now_ms=NOW_MS)
    assert (event.ts, event.node) == (ts, node)
    assert fields(event) | fields(parse_message(text)) == fields(event)


def test_a_time_that_cannot_be_placed_is_none() -> None:
    for prefix in ("[ 12.5] ", "6,1,98765432,-;", "Jan 02 03:04:05 node7 kernel: "):
        assert [event.ts for event in read(prefix + LOST)] == [None]


@pytest.mark.parametrize(
    ("prefix", "zone", "year"),
    [
        ("[Sun Feb 23 16:24:18 2025] ", True, False),
        ("Jan 02 03:04:05 node7 kernel: ", True, True),
        ("[Feb 25 2025 13:59:45] [INFO] [tid 1] ", True, False),
        ("2026-01-02T03:04:05,678901+00:00 ", False, False),
        ("[ 12.5] ", False, False),
    ],
)
def test_assumptions_about_time_are_recorded(prefix: str, zone: bool, year: bool) -> None:
    reader = LineReader(boot_ms=BOOT_MS, now_ms=NOW_MS)
    reader.feed(f"{prefix}no fault at all")
    assert (reader.assumed_timezone, reader.assumed_year) == (False, False)
    reader.feed(prefix + LOST)
    assert (reader.assumed_timezone, reader.assumed_year) == (zone, year)


def test_times_without_a_zone_follow_the_given_one_through_the_year() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    events = read(f"[Sun Feb 23 16:24:18 2025] {LOST}", f"[Wed Jul 23 16:24:18 2025] {LOST}", timezone=berlin)
    assert [event.ts for event in events] == [ms(2025, 2, 23, 15, 24, 18), ms(2025, 7, 23, 14, 24, 18)]


def test_the_year_is_the_newest_that_is_not_in_the_future() -> None:
    line = f"Mar 01 12:00:00 node7 kernel: {LOST}"
    for now_ms, year in ((NOW_MS, 2026), (NOW_MS - 1, 2025)):
        assert [event.ts for event in read(line, now_ms=now_ms)] == [ms(year, 3, 1, 12)]
    [event] = read(
        f"Jan 01 00:30:00 node7 kernel: {LOST}",
        now_ms=ms(2025, 12, 31, 23),
        timezone=timezone(timedelta(hours=2)),
    )
    assert event.ts == ms(2025, 12, 31, 22, 30)


def test_a_kmsg_record_is_unescaped_and_its_dictionary_is_not_a_message() -> None:
    name = r"6,1,5,-;NVRM: Xid (PCI:0000:9b:00): 31, pid=7, name=\xc3\xa4\x5cx, Ch 1"
    [event] = read(f"{name}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:9b:00.0\n MARK=NVRM: Xid (PCI:0000:9b:00): 79, x")
    assert (event.process, event.raw) == ("ä\\x", name)
