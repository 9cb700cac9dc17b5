"""What an Xid said of a GPU, kept as numbers and judged anew by each policy."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from schemas.fault_terms import XidResponse
from schemas.records import KernelFault
from schemas.states import Action, Level
from schemas.xid import XidInfo, lookup, respond

NO_ACTION = -1  # no recovery action was named (Xid 154)
UNREADABLE = 126  # one that no driver of today names
HOURS_MAX = 0x3FFE
NAME_BYTES = 16  # the kernel's names of processes have 15

_RESPONSES = tuple(XidResponse)
_OUTCOMES = {
    XidResponse.MONITOR: (Level.FINE, None),
    XidResponse.LOWER_SCORE: (Level.WARNING, None),
    XidResponse.DEGRADE: (Level.WARNING, None),
    XidResponse.EVICT: (Level.EVICT, Action.EVICT),
    XidResponse.EVICT_PERMANENTLY: (Level.EVICT, Action.EVICT_PERMANENTLY),
    XidResponse.REMOVE_NODE: (Level.EVICT, Action.REMOVE_NODE),
}


class Demotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to answer Xids that are an application's doing. process: a pattern (`*`, `?`, `[...]`) for its name, as the
    kernel prints it. codes: which of them; none = all. The kernel's lines name no namespace.
    """

    process: str = "*"
    codes: list[int] = []
    response: XidResponse = XidResponse.MONITOR


class Fact(NamedTuple):
    """What one Xid said, without any judgement. In the state: three integers, the first of them 0 = none.

    named: the recovery action of an Xid 154. stronger: the number of the response that the message asks for instead
    of the catalogue's. hours: since the GPU had this Xid before; None = it never had. shared: it came to several GPUs
    of one job at a time. process: the kernel's name of it, the first 16 bytes.
    """

    code: int
    named: int = NO_ACTION
    stronger: int = NO_ACTION
    hours: int | None = None
    shared: bool = False
    process: str = ""

    @classmethod
    def of(cls, fault: KernelFault, code: int, *, hours: int | None = None, shared: bool = False) -> Fact:
        told, action = respond(code, fault.message), fault.recovery_action
        return cls(
            code,
            NO_ACTION if action is None else action if 0 <= action < UNREADABLE else UNREADABLE,
            NO_ACTION if told is respond(code) else _RESPONSES.index(told),
            None if hours is None else min(hours, HOURS_MAX - 1),
            shared,
            fault.process.encode()[:NAME_BYTES].decode(errors="ignore"),
        )

    def packed(self) -> tuple[int, int, int]:
        hours = 0 if self.hours is None else self.hours + 1
        said = self.code | (self.named + 1) << 32 | (self.stronger + 1) << 40 | hours << 48 | self.shared << 62
        name = self.process.encode().ljust(NAME_BYTES, b"\0")
        return said, int.from_bytes(name[:8], "big", signed=True), int.from_bytes(name[8:], "big", signed=True)

    @classmethod
    def unpacked(cls, said: int, *name: int) -> Fact:
        hours = said >> 48 & 0x3FFF
        process = b"".join(half.to_bytes(8, "big", signed=True) for half in name).rstrip(b"\0").decode(errors="ignore")
        named, stronger = (said >> 32 & 0xFF) - 1, (said >> 40 & 0xFF) - 1
        return cls(said & 0xFFFF_FFFF, named, stronger, hours - 1 if hours else None, bool(said >> 62), process)


class Verdict(NamedTuple):
    """What one Xid means under a policy; the graver one of two is the greater tuple."""

    level: Level
    rank: int
    corruption: bool
    hard: bool
    action: Action | None


def asked(fact: Fact) -> XidResponse:
    """What catalogue and message ask for, whatever the policy."""
    return _RESPONSES[fact.stronger] if fact.stronger != NO_ACTION else respond(fact.code, "", fact.named)


def outcome(response: XidResponse) -> tuple[Level, Action | None]:
    """The class that a response puts a GPU in, and what it asks for."""
    return _OUTCOMES[response]


def answer(policy: Any, fact: Fact) -> Verdict:
    """What `fact` means under a policy of the signal `xid`.

    The first that applies: it is a job's fault; a demotion names it; the policy answers its code; the policy answers
    applications' faults; the catalogue.
    """
    info = lookup(fact.code)
    response = _told(policy, fact, info)
    known = response is not None
    if response is None and policy.catalog == "spec":
        response = info.spec_response or XidResponse.MONITOR
    if response is None:
        response = asked(fact)
    if response is XidResponse.FOLLOW_MESSAGE:
        response = respond(fact.code, "", fact.named)
    again = fact.hours is not None and fact.hours < policy.repeat_days * 24
    if response is XidResponse.EVICT and again and not known:
        response = XidResponse.EVICT_PERMANENTLY
    level, action = outcome(response)
    rank = list(Action).index(action) if action else 0
    out = level is Level.EVICT
    return Verdict(level, rank, out and info.corruption, out and info.hard, action)


def _told(policy: Any, fact: Fact, info: XidInfo) -> XidResponse | None:
    """What the policy says beyond the catalogue; None: nothing."""
    own: XidResponse | None = policy.responses.get(str(fact.code))
    if not info.application:
        return own
    if fact.shared and policy.shared_gpus:
        return XidResponse.MONITOR
    for rule in policy.demote:
        if (not rule.codes or fact.code in rule.codes) and fnmatchcase(fact.process, rule.process):
            response: XidResponse = rule.response
            return response
    return policy.application_response if own is None else own
