"""One page of a dcgm-exporter as observations: which GPUs there are, and what each field says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from producers.prometheus_text import Page, Sample
from schemas import fields, frames, records
from schemas.fields import BY_NAME, Field, Kind
from schemas.kernel_lines import canonical_bdf

GAUGE_OR_COUNT = (Kind.GAUGE, Kind.COUNTER, Kind.LEVEL, Kind.FLAG)


@dataclass
class Row:
    """One GPU as its node's page shows it.

    values: by field id; None = blank. xids: the sample of the last Xid by MIG instance, "" being the whole GPU.
    """

    info: records.GpuInfo
    values: dict[int, float | None] = field(default_factory=dict)
    xids: dict[str, Sample] = field(default_factory=dict)


@dataclass
class Reading:
    """What a page holds.

    nodes: rows by node and UUID. fields: those on the page, in its order. drivers: versions by node.
    unidentified: DCGM samples that name no UUID, so that nobody can say whose they are.
    """

    nodes: dict[str, dict[str, Row]] = field(default_factory=dict)
    fields: list[int] = field(default_factory=list)
    drivers: dict[str, str] = field(default_factory=dict)
    unidentified: int = 0


def read_page(page: Page, *, node: str, cut: bool = False) -> Reading:
    """The samples of all fields we know. node: where a sample names none.

    cut: the page ends too early. Then its last metric is left out: it may lack GPUs, which would look blank.
    """
    reading = Reading()
    instances: dict[tuple[str, str, int], list[float | None]] = {}
    for sample in page.samples:
        known = BY_NAME.get(sample.name)
        if known is None or (cut and sample.name == page.samples[-1].name):
            continue
        uuid, at = label(sample, "UUID", "uuid"), label(sample, "Hostname", "hostname") or node
        if not uuid:
            reading.unidentified += 1
            continue
        row = _row(reading, sample, at, uuid)
        value, instance = _value(known, sample.value), label(sample, "GPU_I_ID")
        if known.id == fields.XID:
            if value is not None:
                row.xids.setdefault(instance, sample)
        elif known.kind in GAUGE_OR_COUNT:
            if known.id not in reading.fields:
                reading.fields.append(known.id)
            if instance:
                instances.setdefault((at, uuid, known.id), []).append(value)
            else:
                row.values.setdefault(known.id, value)
    # Of MIG instances some values are the GPU's, repeated, and some are their share. Only what all of them say
    # alike, where the GPU says nothing itself, is surely the former.
    for (at, uuid, id), values in instances.items():
        if len(set(values)) == 1:
            reading.nodes[at][uuid].values.setdefault(id, values[0])
    return reading


def frame_of(rows: Iterable[Row], ids: list[int], *, node: str, cluster: str, ts: int) -> frames.TelemetryFrame:
    """The rows of one node as a frame of one tick; blank where a GPU lacks a field that others have."""
    rows = list(rows)
    return frames.build(
        node=node,
        cluster=cluster,
        seq=0,
        gpus=[records.Gpu(uuid=row.info.uuid, bdf=row.info.bdf) for row in rows],
        ticks=[ts],
        columns={id: [row.values.get(id) for row in rows] for id in ids},
    )


def label(sample: Sample, *names: str) -> str:
    """The first of these labels that says something, else ""."""
    return next((sample.labels[name] for name in names if sample.labels.get(name)), "")


def _row(reading: Reading, sample: Sample, node: str, uuid: str) -> Row:
    """The row of this sample's GPU, with what the sample adds to its identity."""
    row = reading.nodes.setdefault(node, {}).setdefault(uuid, Row(records.GpuInfo(uuid=uuid)))
    row.info = records.GpuInfo(
        uuid=uuid,
        bdf=row.info.bdf or canonical_bdf(label(sample, "pci_bus_id")) or "",
        model=row.info.model or label(sample, "modelName"),
        mig=row.info.mig or bool(label(sample, "GPU_I_ID")),
    )
    driver = label(sample, "DCGM_FI_DRIVER_VERSION", "DCGM_FI_SYSTEM_DRIVER_VERSION")
    reading.drivers[node] = driver or reading.drivers.get(node, "")
    return row


def _value(known: Field, value: float) -> float | None:
    """None for DCGM's blanks, and for what no measurement can be."""
    return None if abs(value) >= fields.BLANK_INT64 or fields.is_blank(known, value) else value
