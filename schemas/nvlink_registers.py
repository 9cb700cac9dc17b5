"""The seven registers in the message of an Xid 74 (NVLink up to 4): what each bit that is set says.

    NVLink: fatal error detected on link 6(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)

After WORKFLOW_NVLINK_ERR of NVIDIA's Xid catalogue, which describes registers 1, 3, 4 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class Advice(StrEnum):
    HARMLESS = "harmless"
    CORRECTED = "many corrected errors; goes on, diagnose when convenient"
    ECHO = "usually the echo of another fault; alone, report it"
    ECHO_RESET_FABRIC = "usually the echo of another fault; the fabric needs a reset"
    ECC = "ECC or parity error, likely hardware; report it from the third on one link on"
    CONNECTION = "perhaps hardware: check and reseat the link, then diagnose"
    SIGNAL = "the link's signal is marginal: check its connection, run the field diagnostic"
    REPORT_IF_REPEATED = "report it if it repeats"
    DIAGNOSE_IF_REPEATED = "run the field diagnostic if it repeats"
    UNEXPECTED = "not expected in production: report it"
    UNKNOWN = "not described: report it"


class Bit(NamedTuple):
    """register: 1 to 7. bit: 0 = lowest."""

    register: int
    bit: int
    advice: Advice


def _table(**bits: str) -> dict[int, Advice]:
    return {int(bit): Advice[advice] for advice, numbers in bits.items() for bit in numbers.split()}


_ADVICE = {
    1: _table(
        HARMLESS="0 23 30",
        ECHO="1 20",
        ECC="4 5",
        CONNECTION="8 9 12 16 17 24 28",
        SIGNAL="21 22",
        REPORT_IF_REPEATED="27 29",
    ),
    3: _table(ECC="0 1 2 6", UNEXPECTED="13", DIAGNOSE_IF_REPEATED="16 19", REPORT_IF_REPEATED="17 18"),
    4: _table(ECHO="16 17", ECHO_RESET_FABRIC="18"),
    5: _table(ECC="18 19 21 22 24 25 27 28", CORRECTED="20 23 26 29"),
}

_REGISTERS = re.compile(
    r"detected on link (?P<link>[0-9]{1,3}) ?\((?P<registers>0x[0-9A-Fa-f]{1,8}(?:, ?0x[0-9A-Fa-f]{1,8}){6})\)"
)


class Registers(NamedTuple):
    link: int
    bits: tuple[Bit, ...]


def decode(message: str) -> Registers | None:
    """None unless the message has a link and all seven registers."""
    match = _REGISTERS.search(message)
    if match is None:
        return None
    values = [int(text, 16) for text in match["registers"].split(",")]
    return Registers(int(match["link"]), tuple(_bits(values)))


def _bits(values: list[int]) -> Iterator[Bit]:
    for register, value in enumerate(values, 1):
        for bit in range(value.bit_length()):
            if value >> bit & 1:
                yield Bit(register, bit, _ADVICE.get(register, {}).get(bit, Advice.UNKNOWN))
