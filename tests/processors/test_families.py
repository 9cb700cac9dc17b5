"""Families of faults, from the reference facts."""

from __future__ import annotations

import pytest

from processors.families import FOLLOWS, RANK, family_of_xid, follows, rank
from processors.signal import discover
from schemas.states import Family
from schemas.xid import CATALOG, lookup


@pytest.mark.parametrize(
    ("family", "codes"),
    [
        (Family.MEMORY, [48, 63, 64, 92, 94, 95, 140, 171, 172]),
        (Family.BUS, [79]),
        (Family.GSP, [119, 120]),
        (Family.NVLINK, [74, 136, 137, 144, 145, 146, 147, 148, 149, 150]),
        (Family.APPLICATION, [13, 31, 43, 68, 69]),
        (Family.DRIVER, [45, 62, 109, 110]),
        (Family.OTHER, [9_999]),
    ],
)
def test_the_family_of_an_xid(family: Family, codes: list[int]) -> None:
    assert {code: family_of_xid(code) for code in codes} == dict.fromkeys(codes, family)


def test_what_may_be_demoted_is_what_applications_do() -> None:
    """And nothing that memory, bus, links or system processor do."""
    demoted = {code for code in CATALOG if lookup(code).application}
    assert demoted >= {13, 31, 43, 45, 68, 109}
    demoted.discard(137)  # an illegal access to a peer, which comes in over NVLink
    hardware = {Family.MEMORY, Family.BUS, Family.GSP, Family.NVLINK, Family.THERMAL, Family.POWER}
    assert not {code for code in demoted if family_of_xid(code) in hardware}


def test_every_signal_says_which_family_its_findings_are_of() -> None:
    """But for DCGM's numbers that tell of no part, and tests that fail whatever the reason."""
    nameless = {signal.name for signal in discover() if signal.named(48.0)[1] is Family.OTHER}
    assert nameless == {"dcgm_health", "diagnostic"}
    health = next(signal for signal in discover() if signal.name == "dcgm_health")
    families = {code: health.named(code)[1] for code in (4, 14, 42, 46, 80)}
    assert list(families.values()) == [Family.MEMORY, Family.NVLINK, Family.THERMAL, Family.BUS, Family.MEMORY]


@pytest.mark.parametrize(
    ("what", "family", "other", "other_family", "may"),
    [
        ("xid_45", Family.DRIVER, "xid_79", Family.BUS, True),
        ("xid_45", Family.DRIVER, "xid_13", Family.APPLICATION, True),
        ("blanks", Family.PRESENCE, "xid_119", Family.GSP, True),
        ("presence", Family.PRESENCE, "xid_79", Family.BUS, True),
        ("presence", Family.PRESENCE, "xid_48", Family.MEMORY, False),
        ("xid_31", Family.APPLICATION, "xid_48", Family.MEMORY, True),
        ("xid_31", Family.APPLICATION, "xid_63", Family.MEMORY, False),
        ("xid_31", Family.APPLICATION, "xid_74", Family.NVLINK, False),
        ("xid_79", Family.BUS, "xid_48", Family.MEMORY, False),
    ],
)
def test_what_follows_what(what: str, family: Family, other: str, other_family: Family, may: bool) -> None:
    assert follows(what, family, other, other_family) is may


def test_what_follows_is_never_the_cause() -> None:
    causes = [rank(f"xid_{code}", family_of_xid(code)) for code in CATALOG if f"xid_{code}" not in FOLLOWS]
    assert max(RANK[what] for what in FOLLOWS) < min(causes)


def test_a_cause_outranks_its_details() -> None:
    assert [rank(what, Family.MEMORY) for what in ("xid_48", "xid_95", "xid_171", "xid_63")] == [59, 57, 53, 51]
    assert rank("xid_79", Family.BUS) == max(rank(f"xid_{code}", family_of_xid(code)) for code in CATALOG)
