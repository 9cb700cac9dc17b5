"""The Prometheus text format, as far as exporters of GPU metrics use it: text in, samples out.

Names and values stand as they were written: a general parser appends `_total` to counters, which DCGM's names
do not have. What is no sound sample line is returned as such; no part of it becomes a value.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float
    line: str


class Page(NamedTuple):
    """samples: in the page's order. broken: lines that are neither sample, comment nor empty."""

    samples: list[Sample]
    broken: list[str]


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|(?=\}))')
_LABELS_END = re.compile(r"[ \t]*\}")
_VALUE = re.compile(
    r"[ \t]*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?|NaN|[+-]?Inf)(?:[ \t]+-?[0-9]+)?[ \t\r]*",
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


def parse(text: str) -> Page:
    """Never raises. A repeated label takes the line's last word; a timestamp is passed over."""
    samples: list[Sample] = []
    broken: list[str] = []
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        sample = _sample(line)
        if sample is None:
            broken.append(line)
        else:
            samples.append(sample)
    return Page(samples, broken)


def _sample(line: str) -> Sample | None:
    name = _NAME.match(line)
    if name is None:
        return None
    at = name.end()
    labels: dict[str, str] = {}
    if line[at : at + 1] == "{":
        at += 1
        while label := _LABEL.match(line, at):
            labels[label[1]] = _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), label[2])
            at = label.end()
        end = _LABELS_END.match(line, at)
        if end is None:
            return None
        at = end.end()
    elif line[at : at + 1] not in (" ", "\t"):
        return None
    value = _VALUE.fullmatch(line, at)
    return Sample(name[0], labels, float(value[1]), line) if value else None
