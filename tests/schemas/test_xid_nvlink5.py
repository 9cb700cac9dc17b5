"""The numbers of an Xid 144 to 150 in both layouts, after NVIDIA's decode sheet."""

from __future__ import annotations

import pytest

from schemas.nvlink5 import Reading, decode, driver_branch
from schemas.xid import respond

OLD, NEW = "570.124.06", "575.57.08"

# code, component before R575 and from R575 on: IntrInfo[9:0] and IntrInfo[6:0].
COMPONENTS = [
    (144, "SAW_MVB", 0b00001_00001, "SAW_MVB", 1),
    (145, "RLW_CTRL", 0b00011_00010, "RLW_CTRL", 3),
    (145, "RLW_REMAP", 0b00100_00010, "RLW_REMAP", 4),
    (145, "RLW_RSPCOL", 0b00101_00010, "RLW_RSPCOL", 5),
    (145, "RLW_RXPIPE", 0b00110_00010, "RLW_RXPIPE", 6),
    (145, "RLW_SRC_TRACK", 0b00111_00010, "RLW_SRC_TRACK", 7),
    (145, "RLW_TAGSTATE", 0b01000_00010, "RLW_TAGSTATE", 8),
    (146, "TLW_CTRL", 0b01001_00011, "TLW_CTRL", 9),
    (146, "TLW_RX", 0b01010_00011, "TLW_RX_PIPE0", 10),
    (146, "TLW_RX", 0b01010_00011, "TLW_RX_PIPE1", 11),
    (146, "TLW_TX", 0b01011_00011, "TLW_TX_PIPE0", 12),
    (146, "TLW_TX", 0b01011_00011, "TLW_TX_PIPE1", 13),
    (147, "TREX", 0b01100_00100, "TREX", 14),
    (148, "NVLPW_CTRL", 0b00000_00101, "NVLPW", 15),
    (149, "NETIR", 0b00000_00110, "NETIR_INT", 24),
    (149, "NETIR_LINK_EVT", 0b01110_00110, "NETIR_LINK_DOWN", 17),
    (149, "NETIR_BER_EVENT", 0b10001_00110, "NETIR_BER_EVENT", 19),
    (149, "NETIR_MFDE_EVENT", 0b10010_00110, "NETIR_MFDE_EVENT", 20),
    (150, "MSE", 0, "MSE_WATCHDOG", 0),
]
USER_BITS = 0x000F_8800  # bits that are for the reader's own decoding, and must not matter


def nonfatal(intr_info: int, status: int | None = 0x8000_0000) -> str:
    words = f"{intr_info:#010x}" if status is None else f"{intr_info:#010x} {status:#010x} 0x00000000"
    return f"UNIT Nonfatal XC0 i0 Link 03 ({words})"


def readings(code: int, message: str, driver: str = "") -> tuple[Reading, ...]:
    fault = decode(code, message, driver)
    assert fault is not None
    return fault.readings


@pytest.mark.parametrize(("code", "old_name", "old", "new_name", "new"), COMPONENTS)
def test_a_component_is_known_in_both_layouts(code: int, old_name: str, old: int, new_name: str, new: int) -> None:
    for bits, driver, name, layout in ((old, OLD, old_name, "before R575"), (new, NEW, new_name, "from R575")):
        (reading,) = readings(code, nonfatal(bits | USER_BITS), driver)
        assert (reading.component, reading.layout) == (name, layout)
        assert reading in readings(code, nonfatal(bits | USER_BITS))  # with the driver unknown


@pytest.mark.parametrize(("code", "old_name", "old", "new_name", "new"), [row for row in COMPONENTS if row[0] != 150])
def test_the_other_layout_never_fits_by_chance(code: int, old_name: str, old: int, new_name: str, new: int) -> None:
    assert not readings(code, nonfatal(old), NEW)
    assert not readings(code, nonfatal(new), OLD)


@pytest.mark.parametrize(
    ("code", "intr_info", "status", "response"),
    [
        (144, 1, 0x01, "monitor"),
        (144, 1, 0x02, "evict"),
        (144, 1, 0x10, "evict"),
        (144, 1, 0x20, "monitor"),
        (144, 1, 0x40, "degrade"),  # no such status
        (144, 1 | 1 << 20, 0x01, "degrade"),  # a reason that the sheet does not know
        (145, 4, 0x01, "degrade"),
        (145, 4, 0x80, "evict"),
        (145, 4, 0x100, "monitor"),
        (145, 5, 0x02, "evict"),
        (145, 6, 0x01, "monitor"),
        (145, 6 | 1 << 7, 0x01, "evict"),  # promoted
        (145, 0b0011000010 | 1 << 10, 0x04, "evict"),  # promoted, before R575
        (145, 0b0011000010, 0x04, "monitor"),
        (145, 6 | 1 << 7, 0x08, "monitor"),
        (145, 7, 0x04, "degrade"),
        (145, 8, 0x100000, "evict"),
        (145, 2, 0x01, "degrade"),  # no such component
        (146, 12, 0x04, "evict"),
        (146, 12, 0x02, "monitor"),
        (147, 14, 0x01, "monitor"),
        (149, 24, 0x55, "evict"),
        (149, 17, None, "evict"),
        (149, 17 | 0b100110 << 20, 0, "monitor"),
        (149, 17 | 0b101000 << 20, 0, "monitor"),
        (149, 17 | 0b101011 << 20, 0, "evict"),
        (149, 17 | 0b111111 << 20, 0, "degrade"),
        (149, 19, 2, "monitor"),
        (149, 20, 3, "monitor"),
        (149, 20, 4, "evict"),
        (149, 20, None, "degrade"),
        (150, 0, 0xFFFF_FFFF, "evict"),
    ],
)
def test_what_the_sheet_advises(code: int, intr_info: int, status: int | None, response: str) -> None:
    message = nonfatal(intr_info, status)
    assert respond(code, message) == response
    assert respond(code, message.replace("Nonfatal", "Fatal")) == "evict"


def test_a_known_driver_is_read_in_its_layout_only() -> None:
    message = nonfatal(4, 0x100)  # RLW_REMAP from R575 on
    assert respond(145, message) == respond(145, message, driver=NEW) == "monitor"
    assert respond(145, message, driver=OLD) == "degrade"
    assert respond(145, message, driver="unknown") == "monitor"


@pytest.mark.parametrize(
    ("driver", "branch"),
    [("575.57.08", 575), ("R575", 575), ("1000.1", 1000), ("", None), ("5750000", None), ("x", None)],
)
def test_the_branch_of_a_driver(driver: str, branch: int | None) -> None:
    assert driver_branch(driver) == branch
