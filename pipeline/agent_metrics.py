"""What an agent tells of itself to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pipeline.spool.lane import FAULTS, TELEMETRY
from sinks.families import counter, gauge

if TYPE_CHECKING:
    from pipeline.intake import Intake
    from pipeline.node_commands.desk import Desk
    from pipeline.spool.shipper import Shipper
    from pipeline.spool.spool import Spool


class AgentMetrics(Collector):
    def __init__(self, intake: Intake, spool: Spool, shipper: Shipper, desk: Desk) -> None:
        self._intake = intake
        self._spool = spool
        self._shipper = shipper
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        sources = list(self._intake.sources.values())
        yield gauge(
            "gpu_vitals_source_up",
            "1 while a source can be read.",
            ("source", "hostname"),
            [((each.source, each.node), float(each.state == "ok")) for each in sources],
        )
        yield counter(
            "gpu_vitals_agent_observations",
            "Observations that Kafka has acknowledged.",
            (),
            [((), self._shipper.sent)],
        )
        yield gauge(
            "gpu_vitals_log_unavailable",
            "1 while Kafka cannot be used.",
            ("process",),
            [(("agent",), float(bool(self._shipper.outage)))],
        )
        store = self._spool.store
        yield gauge("gpu_vitals_spool_bytes", "What the spool takes on disk, or in memory.", (), [((), store.size)])
        yield gauge(
            "gpu_vitals_spool_waiting",
            "Observations that Kafka does not have yet.",
            ("lane",),
            [((lane,), store.lane(lane).waiting) for lane in (FAULTS, TELEMETRY)],
        )
        yield counter(
            "gpu_vitals_spool_lost", "Observations that were dropped before Kafka had them.", (), [((), store.lost)]
        )
        yield gauge(
            "gpu_vitals_spool_in_memory",
            "1 while the spool's disk cannot be used.",
            (),
            [((), float(bool(store.trouble)))],
        )
        yield gauge(
            "gpu_vitals_commands_enabled",
            "1 where commands are done, 0 where they are only answered.",
            (),
            [((), float(self._desk.enabled))],
        )
        yield counter(
            "gpu_vitals_command_results",
            "Answers to commands, by state and, of refusals and failures, reason.",
            ("state", "reason"),
            list(self._desk.counts.items()),
        )
