"""Source `nvlink-status:FILE`: what `nvidia-smi nvlink --status` printed."""

from __future__ import annotations

from producers.tool_output import Printed, ToolOutput
from schemas import nvlink_status, records


class NvlinkStatusOutput(ToolOutput):
    """The links of each GPU, as they were when the file was written."""

    kind = "nvlink-status"

    def understand(self, printed: Printed) -> tuple[list[records.Observation], list[str]]:
        status = nvlink_status.parse(printed.text)
        found: list[records.Observation] = [
            records.LinkStatus(
                ts=printed.ts,
                cluster=self._cluster,
                node=self._node,
                uuid=gpu.uuid,
                model=gpu.model,
                links=gpu.links,
            )
            for gpu in status.gpus
        ]
        return found, status.notes
