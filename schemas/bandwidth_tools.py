"""The output of a bandwidth tool, whichever it is."""

from __future__ import annotations

from schemas import nccl_tests, nvbandwidth
from schemas.measured import Report


def parse(text: str) -> Report:
    """What `text` says, with an empty tool where it is of none that we know. Never raises."""
    if nccl_tests.looks_like(text):
        return nccl_tests.parse(text)
    if nvbandwidth.looks_like(text):
        return nvbandwidth.parse(text)
    return Report("", [], ["this is the output neither of nvbandwidth nor of the NCCL tests"])
