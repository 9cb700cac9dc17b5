"""The catalogue of NVSwitch faults: complete, consistent, and never stronger than the switch's own word."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.sxid import CATALOG, SOURCES, Fatality, SxidInfo, lookup

BLOCKS = {  # the last code of each block of the driver's header
    10000: 10010,
    11000: 11047,
    12000: 12051,
    13000: 13008,
    14000: 14018,
    15000: 15020,
    16000: 16003,
    17000: 17008,
    18000: 18020,
    19000: 19084,
    20000: 20038,
    21000: 21010,
    22000: 22013,
    23000: 23017,
    24000: 24010,
    25000: 25010,
    26000: 26008,
    27000: 27007,
    28000: 28005,
    29000: 29006,
    30000: 30006,
}
NAMES = {
    10003: "HOST_UNHANDLED_INTERRUPT",
    11004: "NPORT_INGRESS_ACLFAIL",
    11020: "NPORT_INGRESS_NCISOC_PARITY_ERR",
    12020: "NPORT_EGRESS_SEQIDERR",
    12028: "NPORT_EGRESS_PRIVRSPERR",
    12041: "NPORT_EGRESS_RBCTRLSTORE_ECC_DBE_ERR",
    14017: "NPORT_TSTATE_ATO_ERR",
    15013: "NPORT_ROUTE_CDTPARERR",
    19049: "NVLTLC_TX_SYS_NCISOC_ECC_LIMIT_ERR",
    19060: "NVLTLC_TX_LNK_CREQ_RAM_HDR_ECC_DBE_ERR",
    19084: "NVLTLC_RX_LNK_AN1_HEARTBEAT_TIMEOUT_ERR",
    20009: "DLPL_RX_SHORT_ERROR_RATE",
    20034: "DLPL_LTSSM_FAULT_UP",
    22013: "MINION_NONFATAL",
    23017: "NXBAR_TILEOUT_EGRESS_CDT_PARITY_ERROR",
    24007: "NPORT_SOURCETRACK_SOURCETRACK_TIME_OUT_ERR",
    25010: "NVLIPT_LNK_ALI_TRAINING_FAIL",
    26008: "SOE_WATCHDOG",
}


def test_every_code_of_the_driver_stands_in_the_catalogue_once_and_in_order() -> None:
    assert list(CATALOG) == [code for first, last in BLOCKS.items() for code in range(first + 1, last + 1)]
    assert {code: CATALOG[code].name for code in NAMES} == NAMES


@pytest.mark.parametrize("info", CATALOG.values(), ids=lambda info: str(info.code))
def test_an_entry_agrees_with_itself(info: SxidInfo) -> None:
    for text in (info.name, info.meaning, info.why):
        assert text
        assert text == text.strip()
    assert info.source in SOURCES
    documented = info.fatality is not Fatality.AS_PRINTED
    assert documented == (info.source == "fabric_manager") == bool(info.action)
    if "_ECC_LIMIT_ERR" in info.name and documented:
        assert info.fatality is Fatality.NON_FATAL
    if "_DBE_ERR" in info.name and documented:
        assert info.fatality is Fatality.FATAL


@pytest.mark.parametrize(
    ("fatality", "number", "responses"),
    [
        ("non_fatal", 29, {"monitor", "degrade", "evict"}),
        ("fatal", 43, {"evict", "remove_node"}),
        ("always_fatal", 20, {"remove_node"}),
    ],
)
def test_the_tables_of_the_fabric_manager_guide(fatality: str, number: int, responses: set[str]) -> None:
    infos = [info for info in CATALOG.values() if info.fatality == fatality]
    assert len(infos) == number
    assert {info.response for info in infos} == responses


@pytest.mark.parametrize(
    ("code", "printed", "severity", "response", "scope"),
    [
        (20034, "fatal", "fatal", "evict", "link"),
        (20034, "", "fatal", "evict", "link"),
        (20034, "non-fatal", "low", "monitor", "link"),
        (23001, "fatal", "fatal", "remove_node", "switch"),
        (22003, "", "fatal", "remove_node", "switch"),
        (10003, "fatal", "fatal", "remove_node", "switch"),
        (12028, "non-fatal", "high", "degrade", "link"),
        (12028, "fatal", "fatal", "evict", "link"),
        (19084, "non-fatal", "high", "evict", "link"),
        (19084, "fatal", "fatal", "evict", "link"),
        (11012, "correctable", "low", "monitor", "link"),
        (11012, "fatal", "fatal", "evict", "link"),
        (22013, "fatal", "fatal", "evict", "link"),
        (20009, "non-fatal", "low", "monitor", "link"),
        (20009, "", "unknown", "monitor", "link"),
        (28006, "non-fatal", "low", "monitor", "switch"),  # printed by some drivers, in no catalogue
        (42, "fatal", "fatal", "evict", "switch"),
        (42, "", "unknown", "monitor", "switch"),
    ],
)
def test_the_word_of_the_line_is_the_stronger_one(
    code: int, printed: str, severity: str, response: str, scope: str
) -> None:
    info = lookup(code, printed)
    assert (info.code, info.severity, info.response, info.scope) == (code, severity, response, scope)


@given(st.one_of(st.sampled_from([*CATALOG]), st.integers()), st.text(max_size=12))
def test_a_lookup_never_fails_and_what_the_switch_calls_fatal_is_answered(code: int, printed: str) -> None:
    assert lookup(code, printed).code == code
    assert lookup(code, "fatal").response in ("evict", "remove_node")


def test_importing_the_module_reads_nothing() -> None:
    code = "import schemas.sxid, sys; assert not {'tomllib', 'importlib.resources'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
