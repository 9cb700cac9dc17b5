"""The plots: drawn to scale, within their frame, whatever the numbers."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.report import svg

SOME = st.floats(0.0, 1e9)


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@given(st.lists(SOME, min_size=1, max_size=40), st.floats(0.0, 1e6))
def test_bars_are_to_scale_and_within_the_plot(values: list[float], limit: float) -> None:
    labels = [str(at) for at in range(len(values))]
    bars = list(parsed(svg.bars("t", "d", labels, values, limit, "l")).iter("rect"))
    assert len(bars) == len(values)
    heights = [float(bar.attrib["height"]) for bar in bars]
    largest = max(values)
    for bar, value, height in zip(bars, values, heights, strict=True):
        assert height == pytest.approx(max(heights) * value / largest if largest else 0.0, rel=1e-3, abs=1e-3)
        assert float(bar.attrib["y"]) + height == pytest.approx(svg.TOP + svg.ROOM_Y, abs=0.01)
        assert float(bar.attrib["y"]) >= svg.TOP - 0.01
        assert (bar.attrib["class"] == "over") is (value > limit)


@given(st.lists(st.tuples(SOME, SOME), min_size=1, max_size=30))
def test_areas_fill_the_plot_between_them(parts: list[tuple[float, float]]) -> None:
    series = [svg.Series("a", "red", [a for a, _ in parts]), svg.Series("b", "blue", [b for _, b in parts])]
    series.append(svg.Series("never", "green", []))
    areas = [*parsed(svg.stacked("t", "d", series, "then", "now")).iter("polygon")]
    assert len(areas) == 2
    for area in areas:
        for point in area.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert svg.LEFT - 0.1 <= x <= svg.WIDTH - svg.RIGHT + 0.1
            assert svg.TOP - 0.1 <= y <= svg.TOP + svg.ROOM_Y + 0.1
    for at, part in enumerate(parts):
        if sum(part):
            corner = areas[1].attrib["points"].split()[2 * at]
            assert float(corner.split(",")[1]) == svg.TOP


@given(SOME, SOME, SOME)
def test_a_value_beside_its_range_stays_in_the_row(value: float, one: float, other: float) -> None:
    drawn = parsed(svg.ranged(value, min(one, other), max(one, other)))
    (dot,) = drawn.iter("circle")
    assert 0 <= float(dot.attrib["cx"]) <= svg.ROW_WIDTH
    assert ("over" in dot.attrib["class"]) is not (min(one, other) <= value <= max(one, other))
