"""Kernel and Fabric Manager lines: every form that is printed, and what each says."""

from __future__ import annotations

from datetime import UTC, datetime, timezone
from zoneinfo import ZoneInfo

from schemas.kernel_lines import KernelEvent, LineReader

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

PROBE = [
    "NVRM: The NVIDIA GPU 0000:b3:00.0",
    "NVRM: (PCI ID: 10de:26b5) installed in this system has",
    "NVRM: fallen off the bus and is not responding to commands.",
]
OLD_PROBE = [
    "NVRM: The NVIDIA GPU 0000:b3:00.0 (PCI ID: 10de:1e07) installed in this",
    "NVRM: system has fallen off the bus and is not responding to commands.",
]

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
