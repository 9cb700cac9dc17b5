"""The Xid catalogue: complete, consistent, and true to the specification."""

from __future__ import annotations

import subprocess
import sys

import pytest

from schemas.fault_terms import FaultClass, NvidiaAction
from schemas.xid import CATALOG, SOURCES, Severity, XidInfo, XidResponse, lookup

TAKES_OUT = {XidResponse.EVICT, XidResponse.EVICT_PERMANENTLY, XidResponse.REMOVE_NODE}

SPECIFICATION = {  # code: severity, response, critical set (latches), warning set
    31: ("critical", "evict", True, False),
    43: ("critical", "evict", True, False),
    45: ("high", "degrade", False, True),
    48: ("critical", "evict", True, False),
    63: ("medium", "lower_score", False, True),
    64: ("critical", "evict_permanently", True, False),
    79: ("fatal", "remove_node", True, False),
    94: ("low", "monitor", False, True),
}


NEWEST = 176  # of driver 595
NAMELESS = {173, 174, 176}  # NVIDIA has published the number and not the name
UNADVISED = {*range(162, 177)}  # NVIDIA names no action

# NVIDIA's immediate action, by the page of facts on Xids.
IMMEDIATE = {
    "RESTART_APP": [13, 31, 68, 69],
    "RESET_GPU": [46, 62, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158],
    "RESTART_BM": [79],
    "IGNORE": [63, 92, 121],
    "WORKFLOW_XID_48": [48],
    "WORKFLOW_NVLINK_ERR": [74],
    "WORKFLOW_NVLINK5_ERR": [*range(144, 151)],
    "XID_154": [154],
    "CONTACT_SUPPORT": [1, 61, 142],
}


def test_every_code_that_nvidia_has_published_stands_in_the_catalogue_once_and_in_order() -> None:
    assert set(CATALOG) >= set(range(1, NEWEST + 1))
    assert list(CATALOG) == sorted(CATALOG)
    assert all(code == info.code for code, info in CATALOG.items())


@pytest.mark.parametrize("code", SPECIFICATION)
def test_the_eight_rows_of_the_specification(code: int) -> None:
    info = lookup(code)
    assert (info.severity, info.spec_response, info.latches, info.counts_as_warning) == SPECIFICATION[code]
    assert info.response == info.spec_response


def test_the_specification_is_silent_on_all_others() -> None:
    others = [info for code, info in CATALOG.items() if code not in SPECIFICATION]
    assert not any(info.spec_response or info.counts_as_warning for info in others)


@pytest.mark.parametrize("info", CATALOG.values(), ids=str)
def test_an_entry_agrees_with_itself(info: XidInfo) -> None:
    takes_out = info.response in TAKES_OUT
    assert info.latches == takes_out == (info.severity in (Severity.CRITICAL, Severity.FATAL))
    assert takes_out or not info.hard
    assert info.hard or not info.corruption
    for text in (info.meaning, info.recovery, info.why, info.source):
        assert text
        assert text == text.strip()
    assert bool(info.mnemonic) == (info.code not in NAMELESS)
    assert bool(info.immediate_action) == (info.code not in UNADVISED)
    assert info.source in SOURCES


@pytest.mark.parametrize(("action", "codes"), IMMEDIATE.items())
def test_nvidias_immediate_action(action: str, codes: list[int]) -> None:
    assert {lookup(code).immediate_action for code in codes} == {action}


@pytest.mark.parametrize("code", IMMEDIATE["RESET_GPU"] + [61, 171, 172])
def test_what_needs_a_reset_leaves(code: int) -> None:
    assert lookup(code).response == "evict"


@pytest.mark.parametrize("code", [13, 68, 69, 92, 121, 176])
def test_what_nvidia_leaves_alone_stays(code: int) -> None:
    assert lookup(code).response == "monitor"


def test_a_code_that_no_product_prints_is_asked_about_and_takes_nothing_out() -> None:
    unused = [info for info in CATALOG.values() if info.products == () and info.immediate_action == "CONTACT_SUPPORT"]
    assert len(unused) == 61
    assert {info.code for info in unused if info.response != "monitor"} == {61}


def test_a_program_that_nvidia_restarts_is_of_the_application_class_unless_hardware_is_suspected() -> None:
    restarted = {info.code for info in CATALOG.values() if info.immediate_action is NvidiaAction.RESTART_APP}
    application = {info.code for info in CATALOG.values() if info.application}
    assert restarted - application == {32, 80, 94}  # perhaps the PCIe link, twice; a contained memory error
    assert application - restarted == {37, 43, 45, 108, 109, 137}


def test_application_faults_are_never_hard() -> None:
    assert not any(info.hard for info in CATALOG.values() if info.category == "application" or info.application)


@pytest.mark.parametrize(
    ("category", "codes"),
    [
        ("application", [8, 11, 13, 25, 31, 43, 69, 137]),
        ("memory", [48, 63, 64, 92, 94, 95, 140, 160, 171, 172, 174, 175]),
        ("bus", [32, 79, 80, 167, 176]),
        ("nvlink", [74, 136, *range(144, 151), 155]),
        ("gsp", [119, 120]),
        ("firmware", [61, 62, 169]),
        ("c2c", [121, 159, 173]),
        ("power", [54, 162, 165]),
        ("security", [110, 151, 166, 170]),
        ("video", [68, 82, 86, 142]),
        ("display", [56, *range(111, 119)]),
    ],
)
def test_what_failed(category: str, codes: list[int]) -> None:
    assert {lookup(code).category for code in codes} == {FaultClass(category)}


def test_where_a_code_occurs_and_when_the_driver_sums_it_up() -> None:
    assert lookup(74).products == ("A100", "H100")
    assert lookup(149).products == ("B100", "GB200")
    assert lookup(121).products == ("GB200",)
    assert lookup(176).products is None
    assert [lookup(code).linked_154 for code in (48, 109, 143, 158, 119)] == ["R565", "R570", "R575", "always", ""]


@pytest.mark.parametrize("action", NvidiaAction)
def test_every_action_is_explained(action: NvidiaAction) -> None:
    assert action.meaning


def test_which_faults_are_hard_and_which_corrupt() -> None:
    assert {48, 64, 79, 95, 119, 120} <= {code for code, info in CATALOG.items() if info.hard}
    assert {code for code, info in CATALOG.items() if info.corruption} == {48, 95, 140, 171, 172}


@pytest.mark.parametrize("code", [0, 177, 999, -5, 10**30])
def test_an_unknown_code_is_kept_and_shown(code: int) -> None:
    info = lookup(code)
    assert (info.code, info.severity, info.response) == (code, Severity.UNKNOWN, XidResponse.MONITOR)
    assert "visible" in info.why


def test_importing_the_module_reads_nothing() -> None:
    code = "import schemas.xid, sys; assert not {'tomllib', 'importlib.resources'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
