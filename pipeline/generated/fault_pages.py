"""The pages of Xids and SXids under docs/reference: the catalogues as tables."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.generated.markdown import code, page, table
from schemas import sxid, xid
from schemas.fault_terms import NvidiaAction
from schemas.xid import Source


def xids() -> str:
    about = (
        "What each Xid means and what we do about it, from `schemas/xid_catalog.toml`. A code that is not here is\n"
        "kept, visible and counted (`monitor`). `gpu-vitals xid explain CODE` prints one with its reason."
    )
    marks = (
        "*application*: mostly a program's own fault, a policy may demote it. *hard*: takes effect whatever budgets\n"
        "say. *corruption*: outputs may be wrong. *counts*: more than 10 of these within 60 minutes evict the GPU.\n"
        "*latches*: holds until an operator clears it. *154*: since which driver an Xid 154 comes with it. Products:\n"
        "of A100, H100, B100 and GB200; none = a code of Volta and older."
    )
    said_heads = ("name", "meaning", "severity", "class", "products", "NVIDIA: first, then")
    answer_heads = ("recovery", "response", "specification", "marks", "why", "source")
    rows = []
    for number, info in sorted(xid.CATALOG.items()):
        applies = {
            "application": info.application,
            "hard": info.hard,
            "corruption": info.corruption,
            "counts": info.counts_as_warning,
            "latches": info.latches,
            f"154: {info.linked_154}": info.linked_154,
        }
        names = ", ".join(name for name, holds in applies.items() if holds)
        products = "not said" if info.products is None else ", ".join(info.products) or "none"
        actions = ", ".join(code(action) for action in (info.immediate_action, info.investigatory_action) if action)
        said = (code(info.mnemonic or None), info.meaning, info.severity, info.category, products, actions)
        answers = (info.recovery, code(info.response), code(info.spec_response), names, info.why, info.source)
        rows.append((number, *said, *answers))
    advice = [(code(action), action.meaning) for action in NvidiaAction if action]
    return page(
        "Xids",
        about,
        marks,
        table(("Xid", *said_heads, *answer_heads), rows),
        "## What NVIDIA's actions are",
        table(("action", "what to do"), advice),
        "## Sources",
        _sources(xid.SOURCES),
    )


def sxids() -> str:
    about = (
        "What each fault of an NVSwitch (SXid; Hopper and older) means and what we do about it, from\n"
        "`schemas/sxid_catalog.toml`. Where a line says Fatal or Non-fatal, that is stronger than this table; *as\n"
        "printed*: NVIDIA has published no more than the name, and only the line decides. A code that is not here is\n"
        "kept, visible and counted. `gpu-vitals xid explain CODE` prints one."
    )
    heads = ("SXid", "name", "meaning", "strikes", "documented as", "NVIDIA", "severity", "response", "why", "source")
    rows = []
    for number, info in sorted(sxid.CATALOG.items()):
        documented = info.fatality.replace("_", " ")
        why = "" if info.fatality is sxid.Fatality.AS_PRINTED else info.why
        said = (code(info.name), info.meaning, info.scope, documented, code(info.action or None), info.severity)
        rows.append((number, *said, code(info.response), why, info.source))
    return page("SXids", about, table(heads, rows), "## Sources", _sources(sxid.SOURCES))


def _sources(sources: Mapping[str, Source]) -> str:
    return table(("source", "document", "where"), [(name, each.title, each.url) for name, each in sources.items()])
