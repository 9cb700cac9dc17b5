"""Kernel and Fabric Manager lines: every form that is printed, and what garbage must not do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.kernel_lines import KernelEvent, LineReader, canonical_bdf, decode, parse_message

UUID = "GPU-1b2c3d4e-0a1b-2c3d-4e5f-60718293a4b5"
LOST = "NVRM: Xid (PCI:0000:9b:00): 79, pid=812, name=python3, GPU has fallen off the bus."
BOOT_MS = 1_767_000_000_000
NOW_MS = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * 1000


def ms(*when: int, zone: timezone | ZoneInfo = UTC, extra: int = 0) -> int:
    return int(datetime(*when, tzinfo=zone).timestamp()) * 1000 + extra  # type: ignore[arg-type,misc]


def read(*lines: str, **known: object) -> list[KernelEvent]:
    reader = LineReader(**known)  # type: ignore[arg-type]
    return [event for line in lines for event in reader.feed(line)] + reader.flush()


def fields(event: KernelEvent | None) -> dict[str, object]:
    """What an event says, beside where it was read."""
    assert event is not None
    names = [name for name in event.__struct_fields__ if name not in ("raw", "lines")]
    return {name: value for name in names if (value := getattr(event, name)) not in (None, "")}


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


def xid(code: int, message: str = "", bdf: str = "0000:01:00", **more: object) -> dict[str, object]:
    return {"kind": "xid", "code": code, "bdf": bdf} | ({"message": message} if message else {}) | more


def sxid(code: int, message: str, **more: object) -> dict[str, object]:
    return {"kind": "sxid", "code": code, "bdf": "0000:c1:00", "message": message} | more


RESET_NEEDED = "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"
RESET_DONE = "GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"
CONTAINED = "Contained: CE User Channel (0x9). RST: No, D-RST: No"
UNCONTAINED = "Uncontained: LTC TAG (0x2,0x0). physAddr: 0x1 RST: Yes, D-RST: No"
SWITCH_ERROR = (
    "detected NVSwitch fatal error 20034 on fid 0 on NVSwitch pci bus id 00000000:C1:00.0 physical id 3 port 33"
)
XID_FORMS = {
    "NVRM: Xid (PCI:0000:01:00): 79, pid=7, name=a.out, GPU has fallen off the bus.": xid(
        79, "GPU has fallen off the bus.", pid=7, process="a.out"
    ),
    "NVRM: Xid (0000:01:00): 14, Channel 00000001": xid(14, "Channel 00000001"),
    "NVRM: Xid (PCI:0000:01:00.0): 79, GPU lost": xid(79, "GPU lost"),
    "NVRM: Xid (PCI:00000018:01:00.0): 79, GPU lost": xid(79, "GPU lost", "0018:01:00"),
    "NVRM: Xid (PCI:0000:01:00): 79": xid(79),
    "NVRM: Xid (PCI:0000:01:00): 79,": xid(79),
    "NVRM: Xid (PCI:0000:01:00): 62, 32a5(c9e0) 00000000 00000000": xid(62, "32a5(c9e0) 00000000 00000000"),
    f"NVRM: Xid (PCI:0000:01:00 GPU-I:05): 94, pid=7, {CONTAINED}": xid(94, CONTAINED, gi=5, pid=7),
    "NVRM: Xid (PCI:0000:01:00 GPU-I:05 GPU-CI:00): 31, pid=7, name=x, MMU Fault": xid(
        31, "MMU Fault", gi=5, ci=0, pid=7, process="x"
    ),
    "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU lost": xid(79, "GPU lost"),
    "NVRM: Xid (PCI:0000:01:00): 79, pid=<unknown>, name=<unknown>, GPU lost": xid(79, "GPU lost"),
    "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=VLLM::EngineCor, Ch 00000008": xid(
        31, "Ch 00000008", pid=7, process="VLLM::EngineCor"
    ),
    "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=nvc:[driver], Ch 00000008": xid(
        31, "Ch 00000008", pid=7, process="nvc:[driver]"
    ),
    "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=my job, v2, Ch 00000008, intr 0": xid(
        31, "Ch 00000008, intr 0", pid=7, process="my job, v2"
    ),
    "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=py, Ch 0000001e, Ch 2": xid(
        31, "Ch 0000001e, Ch 2", pid=7, process="py"
    ),
    "NVRM: Xid (PCI:0000:01:00): 13, pid=7, name=a_name_longer_than_the_kernel_keeps, odd, text": xid(
        13, "odd, text", pid=7, process="a_name_longer_than_the_kernel_keeps"
    ),
    "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=cut": xid(31, pid=7, process="cut"),
    "NVRM: Xid (PCI:0000:01:00): 31, pid=7": xid(31, pid=7),
    "NVRM: Xid (PCI:0000:01:00): 45, pid=7, name=x, Ch 0000000a caused by previous Xid 149": xid(
        45, "Ch 0000000a", pid=7, process="x", previous=149
    ),
    f"NVRM: Xid (PCI:0000:01:00): 95, {UNCONTAINED}": xid(95, UNCONTAINED),
    "NVRM: Xid (PCI:0000:01:00): 140, DRAM:1, LTC:0, MMU:0, PCIE:0": xid(140, "DRAM:1, LTC:0, MMU:0, PCIE:0"),
    "NVRM: Xid (PCI:0000:01:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x1 0x2 0x3 0x4 0x5 0x6)": xid(
        149, "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x1 0x2 0x3 0x4 0x5 0x6)"
    ),
    f"NVRM: Xid (PCI:0000:01:00): 154, {RESET_NEEDED}": xid(154, RESET_NEEDED, recovery_action=1),
    f"NVRM: Xid (PCI:0000:01:00): 154, {RESET_DONE}": xid(154, RESET_DONE, recovery_action=0),
    "NVRM: Xid (PCI:0000:01:00): 999, something new": xid(999, "something new"),
}
OTHER_FORMS = {
    "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS MCTO (First)": sxid(
        28006, "MC TS MCTO (First)", severity="non-fatal", link=46, switch=3
    ),
    "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up": sxid(
        20034, "LTSSM Fault Up", severity="fatal", link=30, switch=0
    ),
    "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 00042, Correctable, Link 01": sxid(
        42, "", severity="correctable", link=1, switch=0
    ),
    "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 22013, Fatal, Minion fault, instance=02": sxid(
        22013, "Minion fault, instance=02", severity="fatal", switch=0
    ),
    "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 26008, SOE Watchdog error": sxid(26008, "SOE Watchdog error", switch=0),
    SWITCH_ERROR: sxid(20034, SWITCH_ERROR, severity="fatal", link=33),
    "NVRM: GPU 0000:a1:00.0: GPU has fallen off the bus.": {
        "kind": "bus-loss",
        "bdf": "0000:a1:00",
        "message": "NVRM: GPU 0000:a1:00.0: GPU has fallen off the bus.",
    },
    f"NVRM: GPU at PCI:0000:9b:00: {UUID}": {"kind": "identity", "bdf": "0000:9b:00", "uuid": UUID},
    f"NVRM: GPU at 0000:9b:00: {UUID}": {"kind": "identity", "bdf": "0000:9b:00", "uuid": UUID},
}
FORMS = XID_FORMS | OTHER_FORMS
UNREADABLE = [
    "NVRM: Xid (PCI:0000:9b",
    "NVRM: Xid (PCI:0000:9b:00): ",
    "NVRM: Xid (PCI:0000:9b:00): x79, GPU lost",
    "NVRM: Xid (PCI:0000:9b:00): 1234567, GPU lost",
    f"NVRM: Xid (PCI:0000:9b:00): {'9' * 5000}",
    "VRM: Xid (PCI:0000:9b:00): 79, GPU lost",
    "nvidia-nvswitch0: SXid (PCI:0000:c1",
    "detected NVSwitch fatal error 20034 on fid",
    "NVRM: GPU somewhere has fallen off the bus",
    "NVRM: system has fallen off the bus and is not responding to commands.",
]
NO_FAULTS = [
    "",
    "usb 1-1: new high-speed USB device number 4 using xhci_hcd",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  595.45.04",
    "NVRM: GPU Board Serial Number: 1650000000000",
    "NVRM: Rate limiting GSP RPC error prints for GPU at PCI:0000:9b:00 (printing 1 of every 30).",
    "NVRM: The NVIDIA GPU 0000:9b:00.0 (PCI ID: 10de:2330) installed in this system is not supported",
    "NVRM: GPU at PCI:0000:9b:00: GPU-1b2c3d4e-0a1b",
    "the cyclist has fallen off the bus",
    "detected NVSwitch count does not match",
]


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


PREFIXES = {  # prefix: time, node
    "": (None, None),
    "6,1234,98765432,-;": (BOOT_MS + 98_765, None),
    "4,1234,98765432,-,caller=T1;": (BOOT_MS + 98_765, None),
    "[ 1234.567890] ": (BOOT_MS + 1_234_567, None),
    "[12345.678901][ T4242] ": (BOOT_MS + 12_345_678, None),
    "<4>[    0.000001] ": (BOOT_MS, None),
    "kern  :err   : [ 1234.567890] ": (BOOT_MS + 1_234_567, None),
    "[ 1234.567890] node7 kernel: ": (BOOT_MS + 1_234_567, "node7"),
    "[Sun Feb 23 16:24:18 2025] ": (ms(2025, 2, 23, 16, 24, 18), None),
    "[Sun Feb  2 16:24:18 2025] ": (ms(2025, 2, 2, 16, 24, 18), None),
    "2026-01-02T03:04:05,678901+00:00 ": (ms(2026, 1, 2, 3, 4, 5, extra=678), None),
    "Jan 02 03:04:05 node7 kernel: [ 1234.567] ": (ms(2026, 1, 2, 3, 4, 5), "node7"),
    "Jan  2 03:04:05 node7 kernel: ": (ms(2026, 1, 2, 3, 4, 5), "node7"),
    "Jan 02 03:04:05.250000 node7 kernel: ": (ms(2026, 1, 2, 3, 4, 5, extra=250), "node7"),
    "Dec 31 23:59:59 node7 kernel: ": (ms(2025, 12, 31, 23, 59, 59), "node7"),
    "Feb 29 00:00:00 node7 kernel: ": (ms(2024, 2, 29), "node7"),
    "<4>Jan 02 03:04:05 node7 kernel: ": (ms(2026, 1, 2, 3, 4, 5), "node7"),
    "2026-01-02T03:04:05+0530 node7 kernel: ": (ms(2026, 1, 1, 21, 34, 5), "node7"),
    "2026-01-02T03:04:05Z node7.example.com kernel: ": (ms(2026, 1, 2, 3, 4, 5), "node7.example.com"),
    "2026-01-02T03:04:05.678+00:00 node7 kernel: [ 1.5] ": (ms(2026, 1, 2, 3, 4, 5, extra=678), "node7"),
    "[Feb 25 2025 13:59:45] [INFO] [tid 1803] ": (ms(2025, 2, 25, 13, 59, 45), None),
    "Jan 02 03:04:05 node7 nv-fabricmanager[99]: ": (ms(2026, 1, 2, 3, 4, 5), "node7"),
    "Xyz 02 03:04:05 node7 kernel: ": (None, "node7"),
    "Jan 32 03:04:05 node7 kernel: ": (None, "node7"),
    "a framing nobody knows | ": (None, None),
    "\0" * 5000 + "[ 1234.567890] ": (BOOT_MS + 1_234_567, None),
    "x" * 5000: (None, None),
}


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


PROBE = [
    "NVRM: The NVIDIA GPU 0000:b3:00.0",
    "NVRM: (PCI ID: 10de:26b5) installed in this system has",
    "NVRM: fallen off the bus and is not responding to commands.",
]
OLD_PROBE = [
    "NVRM: The NVIDIA GPU 0000:b3:00.0 (PCI ID: 10de:1e07) installed in this",
    "NVRM: system has fallen off the bus and is not responding to commands.",
]


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


SXID = "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 12028, "
FABRIC_MANAGER = (
    "detected NVSwitch non-fatal error 12028 on fid 0 on NVSwitch pci bus id 00000000:c1:00.0 physical id 1 port {}"
)
SWITCH_FAULT = [
    SXID + "Non-fatal, Link 32 egress non-posted PRIV error (First)",
    SXID + "Severity 0 Engine instance 32 Sub-engine instance 00",
    SXID + "Data {0x00140004, 0x00100000, 0x00140004, 0x00000000}",
    SXID + "Data {0x00000000, 0x00000000}",
]


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


# --- properties ---------------------------------------------------------------------------------------------

MARKS = ("NVRM: ", "Xid (", "detected NVSwitch")
fragments = st.sampled_from(
    [
        *FORMS,
        *UNREADABLE,
        *PREFIXES,
        *PROBE,
        *SWITCH_FAULT,
        "\n",
        "NVRM: Xid (",
        "): ",
        "[",
        "\\x0a",
        "#012",
        "\0",
        ", ",
    ]
)
noise = st.lists(st.one_of(fragments, st.text(max_size=8)), max_size=12).map("".join)
hex2 = st.integers(0, 255).map("{:02x}".format)
bdfs = st.builds("{:04x}:{}:{}".format, st.one_of(st.integers(0, 0xFFFF), st.just(0x12345)), hex2, hex2)
names = st.one_of(
    st.sampled_from(["a, b", "x::y", "[kthread]", "my job", "py,3"]),
    st.from_regex("[a-z_]{1,15}", fullmatch=True),
)


@st.composite
def xid_lines(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A line as drivers print it, and what it says."""
    said: dict[str, object] = {"code": draw(st.integers(1, 999)), "bdf": draw(bdfs)}
    mig = ""
    if draw(st.booleans()):
        said["gi"] = draw(st.integers(0, 14))
        mig = f" GPU-I:{said['gi']:02}"
        if draw(st.booleans()):
            said["ci"] = draw(st.integers(0, 7))
            mig += f" GPU-CI:{said['ci']:02}"
    head = draw(st.sampled_from(["PCI:", ""])) + str(said["bdf"]) + draw(st.sampled_from(["", ".0"]))
    line = f"NVRM: Xid ({head}{mig}): {said['code']}, "
    if draw(st.booleans()):
        said |= {"pid": draw(st.integers(0, 4194304)), "process": draw(names)}
        line += f"pid={said['pid']}, name={said['process']}, "
    said["message"] = draw(st.sampled_from(["Ch 00000008, intr 0", "GPU has fallen off the bus.", "Timeout after 6s"]))
    line += str(said["message"])
    if draw(st.booleans()):
        said["previous"] = draw(st.integers(1, 999))
        line += f" caused by previous Xid {said['previous']}"
    prefix = draw(st.sampled_from([prefix for prefix in PREFIXES if "fabric" not in prefix]))
    return prefix + line, said


@given(st.one_of(st.text(), noise))
@example("NVRM: GPU " * 3000)
@example("[" * 20_000 + "NVRM: Xid (" * 2000)
@example("\ud800NVRM: Xid (PCI:0000:01:00): 79")
def test_no_text_raises_and_nothing_is_invented(text: str) -> None:
    parse_message(text)
    for event in read(text, text, boot_ms=BOOT_MS, now_ms=NOW_MS):
        assert any(mark in text.replace("\x1b[0m", "") for mark in MARKS)
        plain = event.raw.replace("\\x0a", "\n").replace("#012", "\n")
        for value in (event.code, event.pid, event.process, event.previous, event.uuid, event.link, event.gi):
            assert value is None or str(value) in plain
        assert event.bdf is None or event.bdf[-5:] in event.raw.lower()


@given(xid_lines())
def test_what_the_driver_prints_is_read_back(case: tuple[str, dict[str, object]]) -> None:
    line, said = case
    [event] = read(line, boot_ms=BOOT_MS, now_ms=NOW_MS)
    assert {name: getattr(event, name) for name in said} == said
    assert all(getattr(event, name) is None for name in {"gi", "ci", "pid", "process", "previous"} - said.keys())


@given(st.lists(st.tuples(xid_lines(), noise), max_size=6), st.integers(0, len("NVRM: Xid (PCI:0000:9b:00")))
def test_broken_neighbours_hide_no_fault(
    cases: list[tuple[tuple[str, dict[str, object]], str]], cut_chars: int
) -> None:
    lines = [line for (whole, _), other in cases for line in (other, LOST[:cut_chars], whole)]
    raws = [event.raw for event in read(*lines, boot_ms=BOOT_MS, now_ms=NOW_MS) if event.kind == "xid"]
    for (whole, _), _ in cases:
        assert any(whole.endswith(raw) for raw in raws)


@given(st.lists(noise, max_size=30))
def test_one_line_at_a_time_or_all_at_once_is_the_same(lines: list[str]) -> None:
    assert read(*lines) == read("\n".join(lines))


def test_memory_and_output_stay_bounded() -> None:
    reader = LineReader()
    for i in range(2000):
        reader.feed(f"nvidia-nvswitch0: SXid (PCI:0000:{i % 256:02x}:00.0): {i:05}, Fatal, Link 1 " + "x" * 20_000)
        reader.feed(f"NVRM: The NVIDIA GPU 0000:{i % 256:02x}:00.0 " + "y" * 20_000)
        reader.feed("NVRM: (PCI ID: 10de:26b5) installed in this system has " + "z" * 20_000)
    held = reader.flush()
    assert len(held) <= 64
    assert sum(len(event.raw) for event in held) < 64 * 8 * 10_000
