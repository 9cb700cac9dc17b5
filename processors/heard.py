"""Whether an operator's word may be believed: signed by a known key that may say it, said just now, and once.

Both stages ask: the node stage clears latches and plans work by such words, the cluster stage does all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas import operators
from schemas.operator_keys import Operators
from schemas.records import Operator

OLD_MS, AHEAD_MS = 300_000, 60_000  # between when a word says it was said, and when the log took it in
CHARACTERS_MAX = 1000  # of an author, a note, an id: they are shown, and kept
STAGE = "node-stage"  # the id of what the node stage says for an operator; nobody else may use it
NO_LIBRARY = (
    "its signature cannot be checked: the package cryptography is not there; pip install 'gpu-vitals[commands]'"
)


def unbelievable(word: Operator, keys: Operators, now_ms: int) -> str:
    """Why nothing in it can be believed; "" = it can. Without keys all can."""
    if word.id == STAGE:
        return f"its id {STAGE!r} is not for operators"
    if max(map(len, (word.author, word.note, word.id, word.rack))) > CHARACTERS_MAX:
        return f"its author, note or id has more than {CHARACTERS_MAX} characters"
    if not keys:
        return ""
    if not word.signature:
        return "it is not signed, and this policy declares operators' keys"
    key = keys.get(word.key_id)
    if key is None:
        return f"its key {word.key_id!r} is not among the policy's cluster.operators: {', '.join(sorted(keys))}"
    if key.expires_ms is not None and now_ms >= key.expires_ms:
        return f"its key {word.key_id!r} has expired"
    if word.action not in key.may:
        return f"its key {word.key_id!r} may not say {word.action!r}; it may {', '.join(key.may) or 'nothing'}"
    if not word.id:
        return "it has no id: it could be said again by anybody"
    try:
        authentic = operators.is_authentic(word, key.key)
    except ImportError:
        return NO_LIBRARY
    return "" if authentic else f"its signature is not that of key {word.key_id!r}"


class Heard:
    """The words that were heard of late, by id."""

    def __init__(self, heard: Iterable[tuple[str, int]] = ()) -> None:
        self._ids = dict(heard)

    def save(self) -> list[tuple[str, int]]:
        return sorted(self._ids.items())

    def refusal(self, word: Operator, keys: Operators, now_ms: int) -> str:
        """Why it is refused, which changes nothing; "" = it is not, and will not be heard again.

        now_ms: when the log took it in.
        """
        why = unbelievable(word, keys, now_ms) or self._untimely(word, now_ms)
        if why or not word.id:
            return why
        self._ids = {id: at for id, at in self._ids.items() if at + OLD_MS >= now_ms}
        if word.id in self._ids:
            return f"it was said before, under the same id {word.id!r}"
        self._ids[word.id] = word.ts
        return ""

    def _untimely(self, word: Operator, now_ms: int) -> str:
        if word.ts + OLD_MS < now_ms:
            return f"it was said {(now_ms - word.ts) // 1000} s before it came: more than {OLD_MS // 1000} s is too old"
        if word.ts - AHEAD_MS > now_ms:
            return f"it was said {(word.ts - now_ms) // 1000} s from now: one of two clocks is wrong"
        return ""
