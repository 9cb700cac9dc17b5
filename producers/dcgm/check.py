"""What `gpu-vitals agent --check` says of DCGM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from producers.blocking import Blocking
from producers.dcgm import bindings
from producers.dcgm.engine import PORT, Address
from producers.dcgm.session import Reading, Session
from producers.dcgm.values import GPU
from producers.finding import Finding
from producers.source import SourceError
from producers.watched import WATCHED
from schemas.counts import counted
from schemas.fields import FIELDS

T = TypeVar("T")

CHECK_S = 12.0
NEWER = "upgrade DCGM; until then the signals that need them have no opinion"


async def findings(target: str = "") -> list[Finding]:
    """What there is of DCGM on this node, and how to mend what is not well."""
    blocking = Blocking()
    try:
        address = Address.parse(target)
    except SourceError as error:
        return [Finding("dcgm address", "error", str(error), f"write it HOST:{PORT} or /PATH/OF/SOCKET")]
    try:
        loaded = await _within(blocking, bindings.load)
    except bindings.Missing as error:
        return [Finding("dcgm", "absent", error.args[0], error.fix)]
    except (SourceError, TimeoutError) as error:
        return [Finding("dcgm bindings", "error", str(error) or "loading the library hangs", bindings.GET_IT)]
    found = [Finding("dcgm bindings", "ok", str(loaded.where))]
    session = Session(address, WATCHED, None)
    try:
        await _within(blocking, session.open)
        reading = await _within(blocking, lambda: session.read(0, checks=True, looks=False))
    except SourceError as error:
        return [*found, _finding("dcgm host engine", "error", str(error))]
    except TimeoutError:
        hangs = f"host engine at {address.text}: no answer within {CHECK_S:g} s"
        return [*found, Finding("dcgm host engine", "error", hangs, "systemctl restart nvidia-dcgm")]
    finally:
        session.unwanted()
        with suppress(TimeoutError):
            await _within(Blocking(), session.close)
    return found + _of_session(address, session, reading)


def _of_session(address: Address, session: Session, reading: Reading) -> list[Finding]:
    survey = session.survey
    divided = sum(info.mig for info in survey.gpus.values())
    said = f"answers at {address.text}: {counted(len(survey.gpus), 'GPU')}, driver {survey.driver or 'unknown'}"
    found = [Finding("dcgm host engine", "ok", said + (f", {divided} with MIG" if divided else ""))]
    for number, info in survey.gpus.items():
        row = reading.values.get((GPU, number), {})
        if number in survey.statuses:
            what = f"{info.uuid} at {info.bdf} is {survey.statuses[number]}"
        elif all(row[field][-1].value is None for field in session.fields if field in row):
            what = f"{info.uuid} at {info.bdf}: every field is blank"
        else:
            continue
        found.append(Finding("dcgm gpu", "error", what, "see the kernel's log for Xids; reset the GPU or the node"))
    known = f"{len(session.fields)} of {len(session.fields) + len(session.unknown)} fields known"
    if session.unknown:
        names = ", ".join(FIELDS[field].name for field in session.unknown)
        found.append(Finding("dcgm fields", "warning", f"{known}; missing are {names}", NEWER))
    else:
        found.append(Finding("dcgm fields", "ok", known))
    return found + [_finding(f"dcgm {what}", "warning", why) for what, why in session.impaired.items()]


def _finding(what: str, state: str, text: str) -> Finding:
    """text: as errors are written, with what to do behind a semicolon."""
    found, _, fix = text.partition("; ")
    return Finding(what, state, found, fix)


async def _within(blocking: Blocking, function: Callable[[], T]) -> T:
    async with asyncio.timeout(CHECK_S):
        return await blocking.call(function)
