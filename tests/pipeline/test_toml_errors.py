from __future__ import annotations

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageProblem
from pipeline.toml_errors import ANY, Place, key_places, locate, parse

NESTED = """\
# a comment with = and [brackets]
x = "a # [no] = 1"
[a.b]
y = 1
"q.z" = '''
[not.a.table]
y = 2
'''
w.v = { p = 1, q = [ {r = 2}, {r = 3,
  s = 4} ] }
[[t]]
n = 1
[[t]]
d = 1979-05-27 07:32:00 # a time with a space
[t.sub]
k = [
  1, # one
  2,
]
"""


class Limits(msgspec.Struct, forbid_unknown_fields=True):
    smoothing_s: float = 30.0
    enabled: bool = True


class Document(msgspec.Struct, forbid_unknown_fields=True):
    signals: dict[str, Limits] = {}
    node: Limits | None = None
    rows: list[Limits] = []
    name: str = "x"


def complaint(text, type=Document):
    with pytest.raises(UsageProblem) as caught:
        parse("f.toml", text, type)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n[signals.hbm]\nsmothing_s = 1",
            "f.toml: line 3: signals.hbm.smothing_s: unknown key\n"
            "  help: a key with a similar name exists: `smoothing_s` (seconds, default 30.0)",
        ),
        (
            "[node]\n'enabeld' = 1",
            "f.toml: line 2: node.enabeld: unknown key\n"
            "  help: a key with a similar name exists: `enabled` (default true)",
        ),
        (
            "node.zzz = 1",
            "f.toml: line 1: node.zzz: unknown key\n  help: the keys here are smoothing_s, enabled",
        ),
        (
            "[[rows]]\n[[rows]]\nsmoothing_s = '30 ms'",
            "f.toml: line 3: rows[1].smoothing_s: expected number, got text\n"
            "  help: `smoothing_s`: seconds, default 30.0",
        ),
        (
            "[signals.a]\nsmoothing_s = true\n[signals.b]\nsmoothing_s = true",
            "f.toml: line 2 or 4: signals[...].smoothing_s: expected number, got true or false\n"
            "  help: `smoothing_s`: seconds, default 30.0",
        ),
        ("\nsignals = 3", "f.toml: line 2: signals: expected table, got whole number"),
        ("rows = 3", "f.toml: line 1: rows: expected list, got whole number"),
        ("name = 1", "f.toml: line 1: name: expected text, got whole number\n  help: `name`: default 'x'"),
        ("a = 1\nb = ", 'f.toml: line 2: invalid value\n  help: a text needs quotes: key = "text"'),
        ("a = 1\n\na = 2\n", "f.toml: line 3: cannot overwrite a value"),
    ],
)
def test_an_error_names_file_line_key_and_what_was_probably_meant(text, expected):
    assert complaint(text) == expected


def test_a_sound_document_is_its_type():
    assert parse("f.toml", "[node]\nsmoothing_s = 5", Document).node == Limits(smoothing_s=5.0)


def test_every_key_has_its_line_whatever_stands_around_it():
    lines = {".".join(place.key): place.line for place in reversed(key_places(NESTED))}  # the first mention
    assert lines == {
        "x": 2,
        "a": 3,
        "a.b": 3,
        "a.b.y": 4,
        "a.b.q.z": 5,
        "a.b.w": 9,
        "a.b.w.v": 9,
        "a.b.w.v.p": 9,
        "a.b.w.v.q": 9,
        "a.b.w.v.q.[0]": 9,
        "a.b.w.v.q.[0].r": 9,
        "a.b.w.v.q.[1]": 9,
        "a.b.w.v.q.[1].r": 9,
        "a.b.w.v.q.[1].s": 10,
        "t": 11,
        "t.[0]": 11,
        "t.[0].n": 12,
        "t.[1]": 13,
        "t.[1].d": 14,
        "t.[1].sub": 15,
        "t.[1].sub.k": 16,
        "t.[1].sub.k.[0]": 17,
        "t.[1].sub.k.[1]": 18,
    }


def test_a_key_that_is_not_there_is_placed_where_its_table_is():
    assert locate(NESTED, ("a", "b", "nothing", "at", "all")) == [Place(("a", "b"), 3)]
    assert locate(NESTED, ("nothing",)) == []


def test_a_wildcard_finds_all_that_fit():
    assert [place.line for place in locate(NESTED, ("t", ANY))] == [11, 13]


KEYS = st.sampled_from(["a", "b-c", "d_1", '"q.r"', "'s t'"])
VALUES = st.recursive(
    st.sampled_from(["1", "-2.5", "true", '"x # ]"', "'}'", '"""\n[x]\n"""', "1979-05-27 07:32:00", "inf"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ " + " ,\n ".join(items) + " ]")
        | st.lists(st.tuples(KEYS, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
HEADERS = st.lists(KEYS, min_size=1, max_size=2).map(".".join)
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}  # comment = [1]"),
    HEADERS.map(lambda key: f"[{key}]"),
    HEADERS.map(lambda key: f"[[ {key} ]]"),
    st.just(""),
)


@given(st.lists(LINES, max_size=8))
def test_the_walk_finds_exactly_the_keys_that_tomllib_finds(lines):
    text = "\n".join(lines)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert {place.key for place in key_places(text)} | {()} == set(paths(document))


def paths(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield from paths(inner, (*path, f"[{at}]"))
