"""Source `bandwidth:FILE`: what nvbandwidth or the NCCL tests printed."""

from __future__ import annotations

from producers.tool_output import Printed, ToolOutput
from schemas import bandwidth_tools, records
from schemas.measured import Measured


class BandwidthOutput(ToolOutput):
    """What was measured between GPUs. Machines are called as the tool calls them, unless `node` says otherwise.

    What it says is not numbered: it may be of machines whose own agents number what they say.
    """

    kind = "bandwidth"

    def understand(self, printed: Printed) -> tuple[list[records.Observation], list[str]]:
        report = bandwidth_tools.parse(printed.text)
        found: list[records.Observation] = [
            self._record(measured, report.tool, printed.ts) for measured in report.measured
        ]
        return found, report.notes

    def _record(self, measured: Measured, tool: str, ts: int) -> records.Bandwidth:
        apart = measured.gpu.node != measured.peer.node
        return records.Bandwidth(
            ts=ts,
            cluster=self._cluster,
            node=self._name(measured.gpu.node, apart),
            uuid="",
            bdf=measured.gpu.bdf,
            peer="",
            peer_bdf=measured.peer.bdf,
            peer_node=self._name(measured.peer.node, apart) if apart else "",
            gb_per_s=measured.gb_per_s,
            tool=tool,
        )

    def _name(self, told: str, apart: bool) -> str:
        """One name cannot stand for two machines: then the tool's names count."""
        return (told if apart else self._given_node or told) or self._node
