"""Progress is told in steps, and never on standard output."""

from __future__ import annotations

import sys

import pytest

from pipeline.progress import progress


def test_a_line_every_ten_percent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("replay") as shown:
        shown.total = 200
        for _ in range(9):
            shown.advance(10)
        shown.total = 180  # less than was expected
        shown.advance(90)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"replay: {percent} %" for percent in (10, 20, 30, 40, 100)]


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("replay") as shown:
        shown.total = 10
        shown.advance(10)
        assert shown.total == 10
    out, err = capsys.readouterr()
    assert out == ""
    assert "%\n" not in err
