"""Every record on every topic but telemetry frames (`schemas.frames`), as typed structs; JSON on the wire.

Unknown fields are ignored and missing optional ones have defaults, so that old and new versions run side by
side. `v` is the schema version of the record; `ts` its event time in ms since the epoch.
"""

from __future__ import annotations

from schemas.records.base import Gpu, Observation, Record, encode, gpu_key
from schemas.records.decided import (
    Blame,
    Brakes,
    BudgetUse,
    DeadLetter,
    Decision,
    Eviction,
    GroupIssue,
    GroupVerdict,
    Order,
    Standing,
)
from schemas.records.judged import (
    ConditionChange,
    Evidence,
    Gone,
    Incident,
    InstanceHealth,
    Judged,
    Prediction,
    Rate,
    Reason,
    Revalidation,
    Score,
    Xid,
)
from schemas.records.observed import (
    Bandwidth,
    Diagnostic,
    DiagnosticTest,
    GpuInfo,
    HealthIncident,
    Inventory,
    KernelFault,
    LinkStatus,
    PolicyViolation,
    SourceStatus,
)
from schemas.records.said import Command, CommandResult, Operator, Placement, PolicyChange, Revalidated, Serving, Tick

__all__ = [
    "Bandwidth",
    "Blame",
    "Brakes",
    "BudgetUse",
    "Command",
    "CommandResult",
    "ConditionChange",
    "DeadLetter",
    "Decision",
    "Derived",
    "Diagnostic",
    "DiagnosticTest",
    "Eviction",
    "Evidence",
    "FleetEvent",
    "Gone",
    "Gpu",
    "GpuInfo",
    "GroupIssue",
    "GroupVerdict",
    "HealthIncident",
    "Incident",
    "InstanceHealth",
    "Inventory",
    "Judged",
    "KernelFault",
    "LinkStatus",
    "Observation",
    "Observed",
    "Operator",
    "Order",
    "Placement",
    "PolicyChange",
    "PolicyViolation",
    "Prediction",
    "Rate",
    "Reason",
    "Record",
    "Revalidated",
    "Revalidation",
    "Score",
    "Serving",
    "SourceStatus",
    "Standing",
    "Tick",
    "Xid",
    "encode",
    "gpu_key",
]

Observed = (
    Inventory
    | KernelFault
    | HealthIncident
    | PolicyViolation
    | LinkStatus
    | Diagnostic
    | Bandwidth
    | Placement
    | CommandResult
    | Serving
    | Revalidated
    | SourceStatus
    | Operator
    | PolicyChange
    | Tick
)
FleetEvent = (
    ConditionChange
    | Gone
    | Inventory
    | LinkStatus
    | Bandwidth
    | Placement
    | CommandResult
    | Serving
    | Revalidated
    | Operator
    | PolicyChange
    | Tick
)
Derived = (
    Xid
    | Rate
    | Score
    | Incident
    | Revalidation
    | Prediction
    | Decision
    | Eviction
    | GroupVerdict
    | Brakes
    | DeadLetter
    | Inventory
)
