"""Slurm's lists of hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.schedulers.slurm.hostlist import HOSTS_MAX, expand

WORDS = st.text("abcxyz-._", min_size=1, max_size=6)
RANGES = st.tuples(st.integers(0, 120), st.integers(0, 12), st.integers(1, 4))  # first, how many more, width


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("n0", ["n0"]),
        ("n[0-2]", ["n0", "n1", "n2"]),
        ("n[1,3-4,09-11]", ["n1", "n3", "n4", "n09", "n10", "n11"]),
        ("r[1-2]n[0-1]", ["r1n0", "r1n1", "r2n0", "r2n1"]),
        ("a,n[8-9]-ib,b.c", ["a", "n8-ib", "n9-ib", "b.c"]),
        ("n[099-101]", ["n099", "n100", "n101"]),
    ],
)
def test_lists(text, hosts):
    assert expand(text) == hosts


@pytest.mark.parametrize("text", ["n[", "n]", "n[a]", "n[2-1]", "n[]", "n[1-]", "a,,b", ",a", "a,", "a b", "n[1[2]]"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match="not a"):
        expand(text)


def test_a_list_that_would_fill_memory_is_refused():
    for text in (f"n[0-{HOSTS_MAX + 1}]", "n[0-9999]m[0-9999]", "n[0-999999],m[0-999999]"):
        with pytest.raises(ValueError, match=r"more than|not a range"):
            expand(text)


@given(st.lists(st.tuples(WORDS, st.lists(RANGES, max_size=3)), min_size=1, max_size=4))
def test_every_host_that_was_put_in_comes_out_in_its_place(terms):
    texts, hosts = [], []
    for word, ranges in terms:
        if not ranges:
            texts.append(word)
            hosts.append(word)
            continue
        parts = [f"{first:0{width}d}-{first + more:0{width}d}" for first, more, width in ranges]
        texts.append(f"{word}[{','.join(parts)}]")
        hosts += [f"{word}{n:0{width}d}" for first, more, width in ranges for n in range(first, first + more + 1)]
    assert expand(",".join(texts)) == hosts


@given(st.text("n0123456789[],- ", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        hosts = expand(text)
    except ValueError:
        return
    assert all(host and not set(host) & set("[], ") for host in hosts)
