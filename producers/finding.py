"""What a check of this node has found: `gpu-vitals agent --check`."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the check. state: "ok", "warning" (works, but less than it could), "error", or "absent" (not here,
    and need not be). found: what there is, in words. fix: how to mend it; empty where there is nothing to mend.
    """

    what: str
    state: str
    found: str
    fix: str = ""
