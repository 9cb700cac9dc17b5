"""The Xids of one GPU: equal ones together, with what the catalogue says of each."""

from __future__ import annotations

import msgspec

from schemas.records import Xid
from schemas.xid import lookup
from sinks.explain.model import XidSeen

SHOWN = 20


class XidTally:
    def __init__(self) -> None:
        self._seen: dict[tuple[str, int | None], XidSeen] = {}

    def add(self, xid: Xid) -> None:
        """Of equal ones the newest response and message are shown."""
        key = xid.fault, xid.code
        lines = 1 + xid.repeats
        known = self._seen.get(key)
        if known is not None:
            self._seen[key] = msgspec.structs.replace(
                known,
                first=min(xid.ts, known.first),
                last=max(xid.ts, known.last),
                lines=known.lines + lines,
                response=xid.response,
                message=xid.message or known.message,
            )
            return
        info = lookup(xid.code) if xid.fault == "xid" and xid.code is not None else None
        self._seen[key] = XidSeen(
            code=xid.code,
            fault=xid.fault,
            mnemonic=info.mnemonic if info else "",
            meaning=xid.meaning,
            severity=xid.severity,
            response=xid.response,
            nvidia_action=str(info.immediate_action) if info else "",
            application=info.application if info else False,
            first=xid.ts,
            last=xid.ts,
            lines=lines,
            message=xid.message,
        )

    def seen(self) -> list[XidSeen]:
        """Newest first."""
        return sorted(self._seen.values(), key=lambda xid: (-xid.last, xid.code or 0))[:SHOWN]
