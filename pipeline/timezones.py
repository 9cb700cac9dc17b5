"""Time zones by name, for log times that name none."""

from __future__ import annotations

from datetime import tzinfo

from pipeline.errors import UsageProblem


def named_timezone(name: str) -> tzinfo:
    """Raises UsageProblem for a name that is none."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageProblem(f"--assume-timezone: no such time zone: {name}", "names are as in Europe/Berlin") from None
