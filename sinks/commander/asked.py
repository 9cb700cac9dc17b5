"""The commands that a case asks for, before they are signed. Pure: the same record asks for the same commands."""

from __future__ import annotations

from schemas import fencing
from schemas.commands import CANCEL, DIAGNOSE, cancel_id
from schemas.fencing import LIFE_MS_MAX, Heard, Here
from schemas.records import Command, Eviction, Order, gpu_key

AUTHOR = "gpu-vitals"
_NOTHING_HEARD = Heard(0, ())


def asked(eviction: Eviction, ordered: int = 0) -> list[Command]:
    """What `eviction` wants its node to do, and not to do any more.

    ordered: the sequence of the order that it cancels, where that is known; else it is taken to be of before.
    """
    wanted = []
    if eviction.cancel:
        wanted.append(_cancel(eviction, ordered))
    if eviction.order:
        wanted.append(_order(eviction, eviction.order))
    return wanted


def why_not(command: Command, now_ms: int) -> str:
    """In one word of `schemas.fencing`, why no agent would do it, so that it is not sent; "" = one may.

    A time of issue that is yet to come is none of the reasons: the clock that is wrong may be ours.
    """
    now_ms = max(now_ms, command.ts)
    here = Here(command.node, command.cluster, command.boot, {command.uuid: command.bdf})
    refusal = (
        fencing.untimely(command, now_ms)
        or fencing.repeated(command, _NOTHING_HEARD, now_ms)
        or fencing.impossible(command, here)
    )
    return refusal.reason if refusal else ""


def _order(eviction: Eviction, order: Order) -> Command:
    parameters: dict[str, int | str] = {"level": order.level} if order.action == DIAGNOSE and order.level else {}
    return Command(
        ts=eviction.ts,
        cluster=eviction.cluster,
        node=eviction.node,
        id=order.id,
        action=order.action,
        uuid=eviction.uuid,
        bdf=eviction.bdf,
        boot=order.boot,
        sequence=order.sequence,
        expires=order.expires,
        parameters=parameters,
        author=AUTHOR,
        case=_case(eviction),
    )


def _cancel(eviction: Eviction, ordered: int) -> Command:
    """It lives as long as any order of before may: an hour. Its sequence is above that of the order, or it would be
    refused, and below those of the node's next orders, or they would be.
    """
    return Command(
        ts=eviction.ts,
        cluster=eviction.cluster,
        node=eviction.node,
        id=cancel_id(eviction.cancel),
        action=CANCEL,
        uuid=eviction.uuid,
        bdf=eviction.bdf,
        sequence=max(eviction.ts, ordered) + 1,
        expires=eviction.ts + LIFE_MS_MAX,
        parameters={"command": eviction.cancel},
        author=AUTHOR,
        case=_case(eviction),
    )


def _case(eviction: Eviction) -> str:
    return eviction.incident or f"{gpu_key(eviction.node, eviction.uuid, eviction.bdf)}@{eviction.opened}"
