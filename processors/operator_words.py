"""What operators say to the fleet, carried out: a word is refused whole, with the reason, or holds from now on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from processors import case
from processors.brakes import EVERYWHERE
from processors.case import OPERATOR, Failed
from processors.cluster_policy import Policy
from processors.heard import STAGE
from schemas import operators
from schemas.operator_keys import in_utc
from schemas.records import Operator, Standing
from schemas.states import Action, Step

if TYPE_CHECKING:
    from processors.decisions import Decisions
    from processors.fleet import Member

LONGEST_MS = 31 * 86_400_000


class Refused(Exception):
    """The word changes nothing; its text says why."""


def obey(word: Operator, said_ms: int, decisions: Decisions) -> None:
    """Carry out a word that the log took in at `said_ms`. What is refused is a dead letter."""
    try:
        if word.id != STAGE:  # the node stage has seen to what it says for an operator
            why = decisions.brakes.heard.refusal(word, decisions.policy.operators, said_ms)
            if why:
                raise Refused(f"{word.action} is refused: {why}")
        decisions.brakes.cluster = decisions.brakes.cluster or word.cluster
        if word.action not in _OBEY:
            raise Refused(f"unknown operator action {word.action!r}")
        _OBEY[word.action](word, decisions)
    except Refused as refused:
        decisions.out.dead_letter(str(refused))


def expire(decisions: Decisions, now_ms: int) -> bool:
    """Words end at their time; returns whether one has."""
    brakes = decisions.brakes
    if not brakes.due(now_ms):
        return False
    for scope in sorted(scope for scope, hold in brakes.holds.items() if 0 < hold.until <= now_ms):
        brakes.end_hold(scope)
        brakes.news = f"hold of {scope} is over: its time has come"
    for key in sorted(decisions.fleet.standing):
        member = decisions.fleet.members[key]
        if member.drain is not None and 0 < member.drain.until <= now_ms:
            _end_drain(member, decisions, "its time has come")
        if member.override is not None and member.override.until <= now_ms:
            _end_override(member, decisions, "its time has come")
    brakes.restand()
    return True


def failed(member: Member, drain: Standing, now_ms: int) -> Failed:
    """What takes a GPU out that an operator drains."""
    return Failed(member.key, now_ms, action=Action.DRAIN, cause=f"drained {_by(drain)}", fault=OPERATOR)


def in_words(override: Standing) -> str:
    return f"weight {override.weight:g} until {in_utc(override.until)}, {_by(override)}"


# --- one function for each word ----------------------------------------------------------------------------


def _restore(word: Operator, decisions: Decisions) -> None:
    member = decisions.fleet.find(word.node, word.uuid, word.bdf)
    if member is None:
        raise Refused(f"restore of an unknown GPU: uuid {word.uuid!r}, {word.node}/{word.bdf}")
    if word.author == operators.BY_POLICY and _goes_its_course(member.case, decisions.policy):
        return
    note = f"by {word.author or 'an operator'}" + (f": {word.note}" if word.note else "")
    if member.drain is not None:
        member.drain = None
        _stands(member, decisions)
        decisions.brakes.news = f"drain of {member.key} is over: restored {note}"
    member.spent = decisions.stops(member)
    decisions.fleet.end_wait(member)
    decisions.deliver(member, case.Restored(member.key, decisions.out.now_ms, note))


def _goes_its_course(at: case.Case, policy: Policy) -> bool:
    """Whether a passed diagnostic alone does not end the case: it has ordered it itself, or somebody else has the last
    word on its outputs, whenever and by whomever the diagnostic was run.
    """
    awaits_word = policy.workflow.enabled and at.unreleased(policy)
    return at.step in (Step.DIAGNOSING, Step.PROBATION) or awaits_word or at.tainted


def _hold(word: Operator, decisions: Decisions) -> None:
    hold = _standing(word, _scope(word, decisions), decisions)
    decisions.brakes.stand(hold)
    decisions.brakes.news = f"hold of {hold.scope} {_by(hold)}"


def _release(word: Operator, decisions: Decisions) -> None:
    brakes, scope = decisions.brakes, _scope(word, decisions)
    ended = brakes.end_hold(scope)
    storm = brakes.storm.release(decisions.out.now_ms, _author(word)) if scope == EVERYWHERE else ""
    brakes.turned = brakes.turned or bool(storm)
    if ended is None and not storm:
        raise Refused(f"release of {scope}, where no hold is")
    over = f"hold of {scope} is released by {_author(word)}" if ended else ""
    brakes.news = "; ".join(each for each in (over, storm) if each)


def _drain(word: Operator, decisions: Decisions) -> None:
    for member in _members(word, decisions):
        member.drain = _standing(word, _scope(word, decisions), decisions, endless=True)
        member.override, member.spent = None, False
        _stands(member, decisions)
        decisions.judge(member)
        if member.case.open and member.case.fault != OPERATOR:
            decisions.out.eviction(member, f"drained {_by(member.drain)}", decisions.policy)
    decisions.brakes.news = f"drain of {_scope(word, decisions)} by {_author(word)}"


def _undrain(word: Operator, decisions: Decisions) -> None:
    drained = [member for member in _members(word, decisions) if member.drain is not None]
    if not drained:
        raise Refused(
            f"undrain of {_scope(word, decisions)}, which no operator has drained; `restore` ends other cases"
        )
    why = f"undrained by {_author(word)}" + (f": {word.note}" if word.note else "")
    for member in drained:
        _end_drain(member, decisions, why)
    decisions.brakes.news = f"drain of {_scope(word, decisions)} is over: {why}"


def _override(word: Operator, decisions: Decisions) -> None:
    if word.weight is None or not 0.0 <= word.weight <= 1.0:
        raise Refused(f"override needs a weight from 0 to 1, not {word.weight}")
    members = _members(word, decisions)
    for member in members:
        if member.change.corruption or member.case.corruption:
            raise Refused(f"override of {member.key}: its outputs may be wrong, which no override outranks; restore it")
        if member.drain is not None:
            raise Refused(f"override of {member.key}: it is drained {_by(member.drain)}; undrain it first")
    for member in members:
        if member.override is None:
            member.before = member.weight
        member.override = _standing(word, _scope(word, decisions), decisions)
        _stands(member, decisions)
        decisions.fleet.end_wait(member)
        if member.case.open:
            note = f"{in_words(member.override)}, whatever is judged"
            decisions.deliver(member, case.Restored(member.key, decisions.out.now_ms, note))
        decisions.judge(member)
    decisions.brakes.news = f"override of {_scope(word, decisions)} by {_author(word)}"


def _end_overrides(word: Operator, decisions: Decisions) -> None:
    overridden = [member for member in _members(word, decisions) if member.override is not None]
    if not overridden:
        raise Refused(f"end-override of {_scope(word, decisions)}, which has none")
    for member in overridden:
        _end_override(member, decisions, f"ended by {_author(word)}")


def _proceed(word: Operator, decisions: Decisions) -> None:
    decisions.workflow.proceed(_members(word, decisions), word)


def _judged_by_node(word: Operator, decisions: Decisions) -> None:
    """The node stage judges by it, and its next judgement says so."""


_OBEY: dict[str, Callable[[Operator, Decisions], None]] = {
    operators.RESTORE: _restore,
    operators.MAINTENANCE: _judged_by_node,
    operators.END_MAINTENANCE: _judged_by_node,
    operators.PROCEED: _proceed,
    operators.HOLD: _hold,
    operators.RELEASE: _release,
    operators.DRAIN: _drain,
    operators.UNDRAIN: _undrain,
    operators.OVERRIDE: _override,
    operators.END_OVERRIDE: _end_overrides,
}


# --- what they share ---------------------------------------------------------------------------------------


def _end_drain(member: Member, decisions: Decisions, why: str) -> None:
    """Its case ends with it, unless there is evidence against the GPU as well."""
    member.drain = None
    _stands(member, decisions)
    decisions.brakes.news = f"drain of {member.key} is over: {why}"
    if member.case.open and member.case.fault == OPERATOR and not (member.case.firm or decisions.stops(member)):
        decisions.deliver(member, case.Restored(member.key, decisions.out.now_ms, f"({why})"))
    decisions.judge(member)


def _end_override(member: Member, decisions: Decisions, why: str) -> None:
    member.override, member.weight, member.before = None, member.before, None
    _stands(member, decisions)
    decisions.brakes.news = f"override of {member.key} is over: {why}"
    decisions.judge(member)


def _stands(member: Member, decisions: Decisions) -> None:
    if member.words:
        decisions.fleet.standing.add(member.key)
    else:
        decisions.fleet.standing.discard(member.key)
    decisions.brakes.restand()


def _scope(word: Operator, decisions: Decisions) -> str:
    """What the word is about. Raises Refused: nothing that is known."""
    fleet = decisions.fleet
    if word.uuid or word.bdf:
        member = fleet.find(word.node, word.uuid, word.bdf)
        if member is None or word.rack:
            raise Refused(
                f"{word.action} of an unknown GPU: {word.uuid or f'{word.node}/{word.bdf}'} {word.rack}".rstrip()
            )
        return f"gpu {member.key}"
    if word.rack and word.node:
        raise Refused(f"{word.action} names rack {word.rack} and node {word.node}: one of them, please")
    if word.rack:
        if not any(links.rack == word.rack for links in decisions.groups.links.values()):
            raise Refused(f"{word.action}: no inventory has named a rack {word.rack!r}")
        return f"rack {word.rack}"
    if word.node and not fleet.on_node(word.node):
        raise Refused(f"{word.action}: no GPU of node {word.node!r} is known")
    return f"node {word.node}" if word.node else EVERYWHERE


def _members(word: Operator, decisions: Decisions) -> list[Member]:
    """The GPUs that it is about, by key: one, a node's or a rack's. Raises Refused."""
    fleet, scope = decisions.fleet, _scope(word, decisions)
    if scope == EVERYWHERE:
        raise Refused(f"{word.action} is of a GPU, a node or a rack, not of all")
    if word.rack:
        uuids = [uuid for uuid, links in decisions.groups.links.items() if links.rack == word.rack]
        if not (members := [fleet.members[uuid] for uuid in sorted(uuids) if uuid in fleet.members]):
            raise Refused(f"{word.action}: no GPU of rack {word.rack!r} has been judged yet")
        return members
    found = fleet.find(word.node, word.uuid, word.bdf) if word.uuid or word.bdf else None
    return fleet.on_node(word.node) if found is None else [found]


def _standing(word: Operator, scope: str, decisions: Decisions, *, endless: bool = False) -> Standing:
    """Raises Refused: it does not end, or not in time."""
    now_ms = decisions.out.now_ms
    if (word.until or not endless) and not now_ms < word.until <= now_ms + LONGEST_MS:
        raise Refused(
            f"{word.action} until {word.until}: give a time, in ms, between now ({now_ms}) and 31 days from now"
        )
    return Standing(
        what=word.action,
        scope=scope,
        author=_author(word),
        since=now_ms,
        until=word.until,
        note=word.note,
        weight=word.weight if word.action == operators.OVERRIDE else None,
        verified=bool(decisions.policy.operators),
        id=word.id,
    )


def _author(word: Operator) -> str:
    return word.author or "an operator"


def _by(said: Standing) -> str:
    unverified = "" if said.verified else " (unverified)"
    return f"by {said.author}{unverified}" + (f": {said.note}" if said.note else "")
