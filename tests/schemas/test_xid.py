"""The Xid catalogue: complete, consistent, and true to the specification."""

from __future__ import annotations

import subprocess
import sys

import pytest

from schemas.xid import CATALOG, Severity, XidInfo, XidResponse, lookup, respond

NAMED = {
    13,
    14,
    31,
    43,
    45,
    46,
    48,
    61,
    62,
    63,
    64,
    68,
    69,
    74,
    79,
    92,
    94,
    95,
    109,
    110,
    119,
    120,
    121,
    136,
    140,
}
NAMED |= {143, *range(144, 151), 154, 155, 156, 158, *range(171, 177)}
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


def test_every_known_code_stands_in_the_catalogue_once_and_in_order() -> None:
    assert set(CATALOG) >= NAMED
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
    for text in (info.meaning, info.recovery, info.why, info.source, info.category):
        assert text
        assert text == text.strip()


def test_application_faults_are_never_hard() -> None:
    assert not any(info.hard for info in CATALOG.values() if info.category == "application")


def test_which_faults_are_hard_and_which_corrupt() -> None:
    assert {48, 64, 79, 95, 119, 120} <= {code for code, info in CATALOG.items() if info.hard}
    assert {code for code, info in CATALOG.items() if info.corruption} == {48, 95, 140, 171, 172}


@pytest.mark.parametrize("code", [0, 1, 999, -5, 10**30])
def test_an_unknown_code_is_kept_and_shown(code: int) -> None:
    info = lookup(code)
    assert (info.code, info.severity, info.response) == (code, Severity.UNKNOWN, XidResponse.MONITOR)
    assert "visible" in info.why


@pytest.mark.parametrize(
    ("action", "response"),
    [
        (0, "monitor"),
        (1, "evict"),
        (2, "remove_node"),
        (3, "evict"),
        (4, "evict"),
        (5, "degrade"),
        (6, "degrade"),
        (None, "degrade"),
    ],
)
def test_154_does_what_its_message_says_and_an_unreadable_action_is_one(action: int | None, response: str) -> None:
    assert respond(154, recovery_action=action) == response


def test_an_nvlink_error_evicts_if_fatal_and_is_never_ignored() -> None:
    assert respond(149, "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x1)") == "evict"
    assert respond(145, "RLW_REMAP Nonfatal XC1 i0 Link 03 (0x1)") == "degrade"
    assert respond(150, "") == "degrade"
    assert respond(79, "x Fatal y") == "remove_node"


def test_importing_the_module_reads_nothing() -> None:
    code = "import schemas.xid, sys; assert not {'tomllib', 'importlib.resources'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
