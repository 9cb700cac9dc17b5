"""Events that take several lines, and lines that stand between, are glued, cut or quoted."""

from __future__ import annotations

import pytest

from schemas.kernel_lines import LineReader, decode
from tests.schemas.kernel_log import (
    BOOT_MS,
    FABRIC_MANAGER,
    LOST,
    OLD_PROBE,
    PROBE,
    SWITCH_FAULT,
    read,
)


@pytest.mark.parametrize(
    "lines",
    [
        PROBE,
        OLD_PROBE,
        [" ".join(OLD_PROBE)],
        [f"[ 5.25] {PROBE[0]}", f"        {PROBE[1]}", f"        {PROBE[2]}"],
        ["4,7,5250000,-;" + r"\x0a".join(PROBE)],
        ["Jan 02 03:04:05 node7 kernel: " + "#012".join(PROBE)],
        [PROBE[0], "usb 1-1: in between", PROBE[1], LOST[:5], PROBE[2]],
    ],
)
def test_a_gpu_lost_at_probe_time_is_one_event(lines: list[str]) -> None:
    [event] = read(*lines)
    assert (event.kind, event.code, event.bdf) == ("bus-loss", None, "0000:b3:00")
    told = [line for line in lines if "NVRM: " in line]
    assert (event.raw, event.lines) == ("\n".join(told), len(told))


def test_an_unsupported_gpu_lends_its_address_to_no_later_loss() -> None:
    head = "NVRM: The NVIDIA GPU 0000:11:00.0 (PCI ID: 10de:2330)"
    events = read(head, *["quiet"] * 20, PROBE[2])
    assert [(event.kind, event.bdf) for event in events] == [("unparsed", None)]
    assert [event.bdf for event in read(head, *PROBE)] == ["0000:b3:00"]


def test_the_lines_of_one_switch_fault_are_one_event() -> None:
    stamped = [f"[ {100 + i}.000000] {line}" for i, line in enumerate(SWITCH_FAULT)]
    told = f"[Mon Dec 29 09:21:44 2025] {FABRIC_MANAGER.format(32)}"
    for lines in (stamped, [*stamped, told], [told, *stamped]):
        [event] = read(*lines, boot_ms=BOOT_MS)
        assert (event.severity, event.link, event.switch) == ("non-fatal", 32, 3)
        assert event.message == "egress non-posted PRIV error (First)"
        assert (event.raw, event.lines) == ("\n".join(lines), len(lines))


def test_faults_of_several_switches_and_links_stay_apart_however_they_interleave() -> None:
    other = [line.replace("c1:00", "c2:00") for line in SWITCH_FAULT]
    again = [line.replace("Link 32", "Link 40") for line in SWITCH_FAULT]
    both = [line for pair in zip(SWITCH_FAULT, other, strict=True) for line in pair]
    events = read(*both, LOST, *again, FABRIC_MANAGER.format(32), FABRIC_MANAGER.format(40))
    assert [(event.bdf, event.link, event.lines) for event in events if event.kind == "sxid"] == [
        ("0000:c1:00", 32, 5),
        ("0000:c2:00", 32, 4),
        ("0000:c1:00", 40, 5),
    ]
    assert len(events) == 4


def test_the_lines_of_several_nodes_are_not_mixed() -> None:
    a, b = (f"Jan 02 03:04:05 {node} kernel: " for node in "ab")
    events = read(a + SWITCH_FAULT[0], b + SWITCH_FAULT[1], a + PROBE[0], b + PROBE[2])
    assert [(event.kind, event.node, event.bdf) for event in events] == [
        ("unparsed", "b", None),
        ("sxid", "a", "0000:c1:00"),
        ("sxid", "b", "0000:c1:00"),
    ]


def test_a_repeated_switch_fault_is_a_second_event() -> None:
    assert [event.lines for event in read(*SWITCH_FAULT, *SWITCH_FAULT)] == [4, 4]
    apart = [f"[ {at}.000000] {FABRIC_MANAGER.format(1)}" for at in (1, 90)]
    assert len(read(*apart, boot_ms=BOOT_MS)) == 2


def test_a_switch_fault_comes_out_when_time_or_lines_have_passed() -> None:
    reader = LineReader(boot_ms=BOOT_MS)
    assert reader.feed(f"[ 10.000000] {SWITCH_FAULT[0]}") == []
    assert [event.kind for event in reader.feed(f"[ 20.000000] {LOST}")] == ["sxid", "xid"]
    assert reader.feed(SWITCH_FAULT[0]) == []
    assert [event.kind for _ in range(100) for event in reader.feed("quiet")] == ["sxid"]
    assert reader.flush() == []


def test_glued_lines_are_both_read_and_a_cut_code_is_not_believed() -> None:
    events = read(f"[ 1.500000] {LOST[:50]}[ 2.500000] {LOST}", boot_ms=BOOT_MS)
    assert [(event.code, event.process, event.ts) for event in events] == [
        (79, "pyth", BOOT_MS + 1500),
        (79, "python3", BOOT_MS + 2500),
    ]
    events = read(f"NVRM: Xid (PCI:0000:01:00): 7{LOST}")
    assert [(event.kind, event.code) for event in events] == [("unparsed", None), ("xid", 79)]


@pytest.mark.parametrize(
    "prefix",
    ["Jan 02 03:04:05 node7 agent[7]: ", "2026-01-02T03:04:05Z node7 agent: ", "14,1,5,-;agent[7]: "],
)
def test_a_program_that_quotes_a_fault_is_no_second_fault(prefix: str) -> None:
    assert read(f"{prefix}saw '{LOST}'") == []
    assert read(f"{prefix}saw '{LOST}' and '{LOST}'") == []


def test_a_program_that_passes_a_line_on_is_believed_once() -> None:
    assert [event.code for event in read(f"Jan 02 03:04:05 node7 dmesg[7]: {LOST} '{LOST}'")] == [79]


def test_colours_of_dmesg_hide_nothing() -> None:
    [event] = read("\x1b[32m[ 1234.567890] \x1b[0m\x1b[33mNVRM: \x1b[0m" + LOST[6:], boot_ms=BOOT_MS)
    assert (event.code, event.ts) == (79, BOOT_MS + 1_234_567)


def test_bytes_that_are_not_utf8_survive() -> None:
    assert decode(b"name=\xff\xfe, \xc3\xa4") == r"name=\xff\xfe, ä"
