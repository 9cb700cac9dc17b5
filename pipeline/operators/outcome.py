"""What became of an operator's word: refused by a stage, or taken, as the topics tell that anybody may follow."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from schemas.log import Record
from schemas.records import Brakes, DeadLetter, Eviction, Operator, gpu_key
from schemas.topics import BRAKES, DEAD_LETTER, EVICTIONS, FLEET_EVENTS

STAGE = "cluster"
FOLLOWED = (FLEET_EVENTS, DEAD_LETTER, BRAKES, EVICTIONS)
POLL_S = 0.1
GPUS_NAMED = 3


class Outcome(NamedTuple):
    """taken: None = nothing is known of it; then text says why, if that is known. text: for people."""

    taken: bool | None
    text: str


class Trace:
    """Follows one word. It is given all records of FOLLOWED that came after the word, of one topic in order.

    offset: of the word on fleet-events, once the node stage has handed it on.
    """

    def __init__(self, word: Operator) -> None:
        self.word = word
        self.offset: int | None = None
        self._letters: dict[str, str] = {}  # source: why
        self._told: dict[int, str] = {}  # by the offset that caused it: what brakes say
        self._cases: dict[int, dict[str, str]] = {}  # by the offset that caused it: GPU, and what its case is at

    def take(self, topic: str, record: Record) -> None:
        if topic == FLEET_EVENTS:
            if record.kind == "operator" and _word(record.value).id == self.word.id:
                self.offset = record.offset
        elif topic == DEAD_LETTER:
            try:
                letter = _letter(record.value)
            except msgspec.MsgspecError:
                return  # whoever may write there may write anything: none of a stage's
            if letter.kind == "operator" and self.word.id.encode() in letter.data:
                self._letters[letter.source] = letter.why
        elif record.value and record.origin is not None and record.origin.stage == STAGE:
            if topic == BRAKES:
                self._told[record.origin.offset] = _brakes(record.value).detail
            else:
                case = _case(record.value)
                at = self._cases.setdefault(record.origin.offset, {})
                at[gpu_key(case.node, case.uuid, case.bdf)] = (case.step or case.state).value

    def outcome(self, committed: int) -> Outcome | None:
        """None: not known yet. committed: where the cluster stage goes on; all that it caused before has been given."""
        heard = self.offset is not None and committed > self.offset
        own = f"{FLEET_EVENTS}/0/{self.offset}" if heard else ""
        for source, why in self._letters.items():
            if not source.startswith(f"{FLEET_EVENTS}/") or source == own:
                return Outcome(False, why)
        if not heard or self.offset is None:
            return None
        cases = self._cases.get(self.offset, {})
        told = [f"{gpu} is {step}" for gpu, step in list(cases.items())[:GPUS_NAMED]]
        more = len(cases) - len(told)
        named = ", ".join(told) + (f", and {more} more" if more else "")
        said = "; ".join(each for each in (self._told.get(self.offset, ""), named) if each)
        return Outcome(True, said or "no case and no brake has changed by it yet")


_word = msgspec.json.Decoder(Operator).decode
_letter = msgspec.json.Decoder(DeadLetter).decode
_brakes = msgspec.json.Decoder(Brakes).decode
_case = msgspec.json.Decoder(Eviction).decode
