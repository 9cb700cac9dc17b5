from __future__ import annotations

import pytest

from schemas.health_codes import CODES, Verdict, finding


def test_each_number_up_to_116_is_known_but_those_that_say_nothing() -> None:
    assert CODES.keys() == set(range(117)) - {1, 2}
    assert all(says.name and says.meaning for says in CODES.values())
    assert len({says.name for says in CODES.values()}) == len(CODES)


@pytest.mark.parametrize(
    ("code", "name", "verdict", "corruption"),
    [
        (3, "PCI_REPLAY_RATE", Verdict.WARNING, False),
        (4, "VOLATILE_DBE_DETECTED", Verdict.EVICT, True),
        (29, "PERSISTENCE_MODE", Verdict.NOTE, False),
        (52, "FAULTY_MEMORY", Verdict.EVICT, True),
        (58, "MEMORY_MISMATCH", Verdict.EVICT, True),
        (70, "NVLINK_CRC_ERROR_THRESHOLD", Verdict.EVICT, False),
        (80, "ROW_REMAP_FAILURE", Verdict.REPLACE, False),
        (81, "UNCONTAINED_ERROR", Verdict.ELSEWHERE, False),
        (85, "PENDING_ROW_REMAP", Verdict.WARNING, False),
        (101, "XID_ERROR", Verdict.ELSEWHERE, False),
        (116, "BROKEN_P2P_NVLINK_WRITER_DEVICE", Verdict.EVICT, True),
    ],
)
def test_numbers_of_the_header(code: int, name: str, verdict: Verdict, corruption: bool) -> None:
    says = CODES[code]
    assert (says.name, says.verdict, says.corruption) == (name, verdict, corruption)


def test_what_is_confirmed_is_corruption() -> None:
    assert all(says.corruption for says in CODES.values() if says.confirmed)
    assert not CODES[86].confirmed  # either end of the link, or the link, may have done it


@pytest.mark.parametrize(("failed", "verdict"), [(True, Verdict.EVICT), (False, Verdict.WARNING)])
@pytest.mark.parametrize("code", [1, 2, 117, 99_999])
def test_of_an_unknown_number_dcgms_own_word_counts(code: int, failed: bool, verdict: Verdict) -> None:
    says = finding(code, failed)
    assert (says.verdict, says.corruption) == (verdict, False)
    assert str(code) in says.meaning
