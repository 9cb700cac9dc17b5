from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.prometheus_text import Sample, parse

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
texts = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=20)
values = st.floats(allow_nan=False)


def render(name: str, labels: dict[str, str], value: float) -> str:
    inside = ",".join(
        '{}="{}"'.format(key, text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"'))
        for key, text in labels.items()
    )
    number = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, repr(value))
    return f"{name}{{{inside}}} {number}" if labels else f"{name} {number}"


@given(names, st.dictionaries(label_names, texts, max_size=4), values)
def test_what_is_written_is_read_back(name: str, labels: dict[str, str], value: float) -> None:
    line = render(name, labels, value)
    assert parse(line + "\n").samples == [Sample(name, labels, value, line)]


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error_and_each_line_is_accounted_for(text: str) -> None:
    page = parse(text)
    meant = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    assert sorted([sample.line for sample in page.samples] + page.broken) == sorted(meant)


@given(names, st.dictionaries(label_names, texts, min_size=1, max_size=3), st.integers(10, 10**6), st.data())
def test_the_beginning_of_a_line_is_never_a_sample_of_its_name_alone(
    name: str, labels: dict[str, str], value: int, data: st.DataObject
) -> None:
    line = render(name, labels, float(value))
    cut = line[: data.draw(st.integers(1, line.rindex(" ")))]
    assert parse(cut).samples == []


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ('A{gpu="0", UUID="GPU-1",pod=""} 139', {"gpu": "0", "UUID": "GPU-1", "pod": ""}, 139.0),
        ('A{ a = "x" , } 1', {"a": "x"}, 1.0),
        ('A{a="} 7 {"} 1.5e3', {"a": "} 7 {"}, 1500.0),
        ("A{} 1", {}, 1.0),
        ("A 118.000000 1700000000000", {}, 118.0),
        ("A\t1\r", {}, 1.0),
        ("A_TOTAL 1", {}, 1.0),
    ],
)
def test_the_forms_that_exporters_write(line: str, labels: dict[str, str], value: float) -> None:
    (sample,) = parse(line).samples
    assert (sample.labels, sample.value) == (labels, value)
    assert sample.name in ("A", "A_TOTAL")


@pytest.mark.parametrize(
    "line",
    [
        "<html>",
        "A",
        "A ",
        "A{",
        'A{a="x} 1',
        'A{a="x"b="y"} 1',
        'A{a="x"} ',
        'A{a="x"} 1_000',
        'A{a="x"} 0x10',
        'A{a="x"} \u0661',
        'A{a="x"} 1 2 3',
        'A{a="x"} nan1',
        "1 2",
    ],
)
def test_what_is_no_sample_gives_no_value(line: str) -> None:
    page = parse(line)
    assert (page.samples, page.broken) == ([], [line])
