"""The HTML report: nothing of a record becomes markup, nothing is loaded, and whoever cannot see it can read it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from schemas.states import Condition
from sinks.report import html, text
from sinks.report.markup import join, tag
from tests.sinks.report.fleets import START, Told, reason

NASTY = '<script>alert("1")</script>&amp;\''
VOID = {"meta"}


class Page(HTMLParser):
    """elements: (name, attributes) in order; text: of the body. Fails where an element is not closed in its turn."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


def page(told: Told) -> Page:
    return Page(html.render(told.report()))


@pytest.fixture
def nasty() -> Told:
    """Every text that a record can hold is an attack."""
    told = Told()
    told.score(f"GPU-{NASTY}", START, Condition.FAILED, reason(NASTY), node=NASTY)
    told.decision(f"GPU-{NASTY}", START, 0.0, held_by=NASTY, cause=NASTY, node=NASTY)
    told.case(f"GPU-{NASTY}", START, NASTY, node=NASTY, cause=NASTY)
    told.xid("GPU-1", START, 31, node=NASTY)
    told.say("xids", NASTY, b'{"node":"n","fault":"<script>","meaning":"<img onerror=x>"}', START)
    return told


def test_what_records_hold_is_text(nasty: Told) -> None:
    shown = page(nasty)
    assert not shown.named("script")
    assert not shown.named("img")
    assert NASTY in shown.text
    assert "<img onerror=x>" in shown.text


def test_attributes_hold_what_they_are_given() -> None:
    element = tag("p", join("a<b", tag("b", "c")), title='"><script>')
    assert element == '<p title="&quot;&gt;&lt;script&gt;">a&lt;b<b>c</b></p>'


def test_nothing_is_loaded_and_no_script_may_run(nasty: Told) -> None:
    source = html.render(nasty.report())
    shown = Page(source)
    assert not {"script", "link", "img", "iframe", "object", "base"} & {name for name, _ in shown.elements}
    assert not any({"src", "href", "xlink:href"} & attributes.keys() for _, attributes in shown.elements)
    assert not re.search(r"url\(|@import|https?:", source)
    policy = next(meta for meta in shown.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_it_can_be_read_by_who_does_not_see_it(nasty: Told) -> None:
    shown = page(nasty)
    assert shown.named("html")[0]["lang"] == "en"
    assert len(shown.named("h1")) == 1
    assert shown.named("title")
    plots = [svg for svg in shown.named("svg") if svg.get("aria-hidden") != "true"]
    assert plots
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in plots)
    assert len(shown.named("caption")) == len(shown.named("table")) > 3
    assert {header.get("scope") for header in shown.named("th")} == {"col", "row"}


def test_it_says_what_the_text_says() -> None:
    told = Told()
    for number in range(20):
        told.score(f"GPU-{number}", START, Condition.HEALTHY)
    told.case("GPU-3", START + 1000, "xid_48")
    report = told.report()
    shown, printed = Page(html.render(report)).text, text.render(report)
    for said in ("20 GPUs on 1 node", "94.2 %", "100.0 %", "xid_48 it was", "0 to 1", "2026-01-01 00:00:01"):
        assert said in shown
        assert said in printed


def test_an_empty_report_is_a_page_too() -> None:
    shown = page(Told())
    assert "0 GPUs on 0 nodes" in shown.text
    assert "no GPU was seen" in shown.text


def test_a_terminal_is_told_nothing_but_text() -> None:
    told = Told()
    told.case("GPU-1", START, "xid_48", cause="\x1b[2J\x07 gone\nnext")
    assert "?[2J? gone?next" in text.render(told.report())
