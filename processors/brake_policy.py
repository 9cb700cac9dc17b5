"""What the brakes may be told: limits per unit, storms, and windows of work."""

from __future__ import annotations

from typing import Annotated

import msgspec

from processors.windows_of_work import parse

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=604_800.0)]


class UnitLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many GPUs of one unit may be out of service when a discretionary removal adds another; None = any number.

    node, rack: as the inventory names them. domain: those that NVLink joins, a rack of NVL72, else a node. group: of a
    placement. model: all GPUs that serve it, within its namespace. nodes_out_max, nodes_out_share: how many nodes may
    have a GPU that is out, as a number and as a share of all known, at least one; the smaller of both counts.
    """

    nodes_out_max: Count | None = None
    nodes_out_share: Share = 1.0
    node_max: Count | None = None
    rack_max: Count | None = None
    domain_max: Count | None = None
    group_max: Count | None = None
    model_max: Count | None = None


class StepLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many GPUs may be in a disruptive step (removed, reset, diagnosed) at once, whatever took them out.

    gpus_max: in all. The others: of one unit, as in `budgets`. windows: when such steps may begin, weekdays and times
    in UTC ("mon-fri 22:00-04:00"); empty = at any time.
    """

    gpus_max: Count | None = 8
    node_max: Count | None = 1
    rack_max: Count | None = 2
    domain_max: Count | None = 1
    group_max: Count | None = 1
    model_max: Count | None = None
    windows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for window in self.windows:
            parse(window)


class StormPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When so much goes wrong at once that the cause is hardly the GPUs: nothing discretionary and nothing disruptive.

    gpus_max, gpus_share: so many GPUs, or so large a share of all known, taken out or to be taken out within
    `window_s`; the smaller of both counts. unknown_share: such a share of all known of which nothing is known any more,
    while they have traffic or a case. gpus_min: fewer than that are never a storm. quiet_s: over when it has been
    calmer for so long. Planned work and operators' drains do not count.
    """

    enabled: bool = True
    gpus_min: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 16
    gpus_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100
    gpus_share: Share = 0.2
    window_s: Seconds = 600.0
    unknown_share: Share = 0.3
    quiet_s: Seconds = 900.0
