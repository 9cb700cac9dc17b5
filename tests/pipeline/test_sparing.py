from __future__ import annotations

import logging

import pytest

from pipeline.sparing import KEPT_MAX, Sparing, spare


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


@pytest.fixture
def time():
    return [0.0]


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def logger(time, lines):
    logger = logging.Logger("test")
    logger.addHandler(Sparing(lines, lambda: time[0]))
    return logger


def test_a_line_that_comes_again_and_again_is_written_once_a_minute_with_a_count(time, lines, logger):
    for second in range(0, 150, 10):
        time[0] = float(second)
        logger.warning("cannot send: %s", "100 % full")
    assert lines.said == [
        "cannot send: 100 % full",
        "cannot send: 100 % full (5 times more within a minute)",
        "cannot send: 100 % full (5 times more within a minute)",
    ]


def test_another_line_is_no_repetition(lines, logger):
    logger.warning("source %s waits", "kmsg")
    logger.warning("source %s waits", "journal")
    logger.error("source %s waits", "journal")
    assert len(lines.said) == 3


def test_numbers_make_no_other_line_of_it(lines, logger):
    for offset in range(100):
        logger.warning("observations/0/%d left out", offset)
    assert lines.said == ["observations/0/0 left out"]


def test_a_burst_is_counted_as_soon_as_its_minute_is_over_and_anything_is_logged(time, lines, logger):
    for _ in range(5):
        logger.warning("torn")
    time[0] = 61.0
    logger.info("other")
    assert lines.said == ["torn", "torn (3 times more within a minute)", "other"]


def test_nothing_is_uncounted_at_the_end(lines, logger):
    logger.warning("torn")
    logger.warning("torn")
    logger.handlers[0].close()
    assert lines.said == ["torn", "torn"]


def test_it_keeps_few_lines_whatever_is_logged(lines, logger):
    for number in range(2 * KEPT_MAX):
        logger.warning("x" * (number + 1))
    assert len(lines.said) == 2 * KEPT_MAX
    assert len(logger.handlers[0]._held) <= KEPT_MAX


def test_a_service_spares_what_it_writes(monkeypatch, lines):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [lines])
    spare()
    logging.getLogger("a").warning("twice")
    logging.getLogger("a").warning("twice")
    assert lines.said == ["twice"]
