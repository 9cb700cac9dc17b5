"""A ticket as Markdown, which people read as it stands. Times are UTC; nothing but printable text gets out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sinks.tickets.ticket import PREDICTION, Line, Ticket, TicketGpu

Section = tuple[str, list[str]]  # title, lines

CUT = "(more than fits here: `gpu-vitals explain` has the rest)"


def markdown(ticket: Ticket) -> str:
    """The whole ticket, newline at the end."""
    parts = [f"# {_plain(ticket.title)}", *(f"{head}\n\n" + "\n".join(body) for head, body in _marked(ticket))]
    return "\n\n".join(parts) + "\n"


def plain(ticket: Ticket, characters_max: int) -> str:
    """For fields that know no formatting: what does not fit is cut at a line, and says so."""
    lines = [line for title, body in sections(ticket) for line in (title.upper(), *(f"  {each}" for each in body), "")]
    text = "\n".join(lines).rstrip()
    if len(text) <= characters_max:
        return text
    kept = text[: characters_max - len(CUT) - 1]
    return f"{kept[: kept.rfind(chr(10))]}\n{CUT}"


def sections(ticket: Ticket) -> Iterator[Section]:
    """Those that have something to say, in the order in which they are needed."""
    yield "State", [_plain(line) for line in _state(ticket)]
    yield "GPUs", [_plain(_gpu(gpu)) for gpu in ticket.gpus]
    yield "Fault", [_plain(line) for line in _fault(ticket)]
    if ticket.suggestion:
        yield "Suggested part", [_plain(f"{ticket.suggestion.part}: {ticket.suggestion.why}")]
    if ticket.nvidia:
        yield "NVIDIA's recommended action", [_plain(line) for line in _nvidia(ticket)]
    if ticket.evidence:
        yield "Evidence, in order (UTC)", [_plain(line) for each in ticket.evidence for line in _line(each)]
    if ticket.tried:
        yield "So far (UTC)", [_plain(f"{at(each.ts)}  {each.gpu}  {each.text}") for each in ticket.tried]
    if ticket.checks:
        yield "Outputs to check again", [_plain(line) for line in _checks(ticket)]
    explained = ticket.gpus[0].uuid or ticket.gpus[0].key if ticket.gpus else ""
    yield "More", [_plain(f"gpu-vitals explain {explained}"), _plain(f"incident {ticket.id}")]


def at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms > 0 else "the beginning"


def _marked(ticket: Ticket) -> Iterator[tuple[str, list[str]]]:
    """Lines that a tool printed are indented, so that Markdown leaves them as they are."""
    for title, lines in sections(ticket):
        yield f"## {title}", [f"    {line}" for line in lines]


def _state(ticket: Ticket) -> Iterator[str]:
    state = "open" if ticket.is_open else f"closed: {ticket.closed_because}"
    yield f"{state}; priority {ticket.priority}; action {ticket.action}"
    if ticket.opened:
        yield f"opened {at(ticket.opened)} UTC" + (f", came back {ticket.reopened} x" if ticket.reopened else "")
    if ticket.into:
        yield f"it turned out to be part of {ticket.into}"
    if ticket.resolved and ticket.is_open:
        yield f"the fault is over since {at(ticket.resolved)} UTC; the GPU is out until somebody puts it back"
    for gpu in ticket.gpus:
        if gpu.waits and ticket.is_open:
            yield f"{gpu.bdf or gpu.key} waits: {gpu.waits}"
    if ticket.policy:
        yield f"decided by policy {ticket.policy}"


def _gpu(gpu: TicketGpu) -> str:
    parts = (
        f"rack {gpu.rack}" if gpu.rack else "",
        f"slot {gpu.bdf}" if gpu.bdf else "",
        gpu.uuid or gpu.key,
        gpu.model,
        f"serial {gpu.serial}" if gpu.serial else "",
        f"{gpu.step or gpu.state}, {gpu.action}" if gpu.state else "",
        f"reset {gpu.attempts} x for this fault" if gpu.attempts else "",
        "goes with its node" if gpu.planned else "",
    )
    return ", ".join(filter(None, (gpu.node, *parts)))


def _fault(ticket: Ticket) -> Iterator[str]:
    yield ticket.fault
    if ticket.kind == PREDICTION:
        yield "foreseen, not happened: the GPU still works"
    elif ticket.family:
        yield f"family {ticket.family}, cause {ticket.root}"


def _nvidia(ticket: Ticket) -> Iterator[str]:
    for each in ticket.nvidia:
        name = f"Xid {each.code}" + (f" ({each.mnemonic})" if each.mnemonic else "")
        cause = f"; to find the cause {each.investigatory}" if each.investigatory not in ("", each.immediate) else ""
        yield f"{name}: {each.immediate or 'nothing at once'}{cause}"


def _line(line: Line) -> Iterator[str]:
    times = f" x {line.count}" if line.count > 1 else ""
    of = f" of {line.gpu}" if line.gpu else ""
    yield f"{at(line.ts)}  {line.what}{times}{of}: {line.text}".rstrip(": ")
    if line.raw:
        yield f"  {line.raw}"


def _checks(ticket: Ticket) -> Iterator[str]:
    for each in ticket.checks:
        answer = f"; checked again: {each.answer}" if each.answer else ""
        window = f"from {at(each.start)} to {at(each.end)}"
        yield f"{each.gpu}: {window}, corruption {each.confidence or 'suspected'}{answer}"


def _plain(line: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in line).rstrip()
