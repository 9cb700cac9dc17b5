"""Errors that a user can mend: what is wrong, where, one line of help. The command line exits 2 on them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageProblem(Exception):
    """Input, configuration or usage that cannot be served.

    text: matter of fact, lower case, no full stop, complete without the help. help: how to mend it.
    """

    def __init__(self, text: str, help: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.help = help

    def __str__(self) -> str:
        return f"{self.text}\n  help: {self.help}" if self.help else self.text


def most_similar(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return found[0] if found else None
