"""A bad link's two ends are told from a bad GPU."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.blame import Edge, blame

ABCD = list(combinations("ABCD", 2))


def edges(text: str) -> list[Edge]:
    return [(pair[0], pair[1]) for pair in text.split()]


def told(bad: str, missing: dict[str, int | None] | None = None, of: list[Edge] = ABCD) -> list[tuple[str, str]]:
    slow = edges(bad)
    found = blame(slow, [edge for edge in of if edge not in slow], missing or dict.fromkeys("ABCD"))
    return [(each.kind, "".join(each.gpus)) for each in found]


@pytest.mark.parametrize(
    ("bad", "missing", "blamed"),
    [
        ("", None, []),
        ("AB", None, [("link", "AB")]),
        ("AB", {"A": 2, "B": 2, "C": 0, "D": 0}, [("link", "AB")]),
        ("AB", {"A": 2, "B": 0, "C": 0, "D": 0}, [("gpu", "A")]),
        ("AB", {"A": 2, "B": 6, "C": 0, "D": 0}, [("gpu", "B")]),
        ("AB", {"A": 2, "B": None}, [("link", "AB")]),
        ("AB AC", None, [("gpu", "A")]),
        ("AB AC AD", None, [("gpu", "A")]),
        ("AB CD", None, [("link", "AB"), ("link", "CD")]),
        ("AB AC BC", {"A": 2, "B": 2, "C": 0, "D": 0}, [("gpu", "A"), ("gpu", "B")]),
        ("AD BD CD AB", {"A": 0, "B": 0, "C": 0, "D": 6}, [("gpu", "D"), ("link", "AB")]),
        ("AB AC AD BC BD", None, [("gpu", "A"), ("gpu", "B")]),
        ("AB AC AD BC BD CD", None, [("fabric", "ABCD")]),
        ("AB AC AD BC BD CD", dict.fromkeys("ABCD", 4), [("fabric", "ABCD")]),
    ],
)
def test_who_is_to_blame(bad: str, missing: dict[str, int | None] | None, blamed: list[tuple[str, str]]) -> None:
    assert told(bad, missing) == blamed


def test_of_two_gpus_behind_a_switch_that_lack_alike_the_link_is_to_blame() -> None:
    assert told("AB", {"A": 2, "B": 2}, of=[("A", "B")]) == [("link", "AB")]


@given(
    st.lists(st.sampled_from(ABCD), unique=True),
    st.dictionaries(st.sampled_from("ABCD"), st.integers(0, 18)),
    st.randoms(),
)
def test_the_order_of_pairs_does_not_matter(bad: list[Edge], missing: dict[str, int | None], random: object) -> None:
    good = [edge for edge in ABCD if edge not in bad]
    expected = blame(bad, good, missing)
    random.shuffle(bad)  # type: ignore[attr-defined]
    assert blame(bad, good[::-1], dict(reversed(missing.items()))) == expected


@given(st.lists(st.sampled_from(ABCD), unique=True), st.dictionaries(st.sampled_from("ABCD"), st.integers(0, 18)))
def test_only_ends_of_slow_pairs_are_to_blame_and_no_slow_pair_is_left_without(
    bad: list[Edge], missing: dict[str, int | None]
) -> None:
    found = blame(bad, [edge for edge in ABCD if edge not in bad], missing)
    blamed = {gpu for each in found for gpu in each.gpus}
    assert blamed <= {gpu for edge in bad for gpu in edge}
    assert all(blamed.intersection(edge) for edge in bad)
