"""The reference page of incidents: which faults are of which family, and who follows whom, from the tables."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.generated.markdown import code, page, table
from processors import families
from processors.signal import discover
from schemas.states import Family
from schemas.xid import CATALOG


def incidents() -> str:
    about = (
        "Which faults become one incident, printed from `processors/families.py`; [incidents](../incidents.md) tells\n"
        "what becomes of it. Faults of one family and one GPU are one incident while it is open."
    )
    rows = [
        (
            code(family),
            families.ABOUT[family],
            ", ".join(str(number) for number in sorted(CATALOG) if families.family_of_xid(number) is family),
            _names(signal.name for signal in discover() if signal.family is family and signal.name != "xid"),
            rank,
        )
        for family, rank in sorted(families.FAMILY_RANK.items(), key=lambda item: -item[1])
    ]
    follows = [(code(what), _names(sorted(of)), why) for what, (of, why) in families.FOLLOWS.items()]
    fatal = ", ".join(
        map(code, sorted(families.FATAL_TO_PROGRAMS, key=lambda what: (-families.RANK.get(what, 60), what)))
    )
    follows.append((f"all of {code(Family.APPLICATION)}", fatal, "a program dies of these, by whatever exception"))
    ranks = [(code(what), rank) for what, rank in sorted(families.RANK.items(), key=lambda item: -item[1])]
    return page(
        "Incidents",
        about,
        "## Families",
        table(("family", "what is one", "Xids", "signals", "rank"), rows),
        "## What follows what\n\nAlone, each is an incident of its own.",
        table(("fault", "may follow", "because"), follows),
        "## Causes\n\nThe root is the fault of the highest rank, of equals the earliest. Others rank as their family.",
        table(("fault", "rank"), [*ranks, ("fatal SXid", families.FATAL_SWITCH_RANK)]),
    )


def _names(names: Iterable[str | Family]) -> str:
    listed = list(names)
    return "any" if len(listed) == len(Family) else ", ".join(code(str(name)) for name in listed)
