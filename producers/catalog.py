"""Sources by name: what `--source` takes."""

from __future__ import annotations

import re
from datetime import tzinfo

from producers.bandwidth import BandwidthOutput
from producers.diagnostic import DiagnosticFile
from producers.exporter import Exporter
from producers.fleet import START_MS
from producers.journal import Journal
from producers.kernel_log import KernelLog
from producers.kmsg import Kmsg
from producers.nvlink_status import NvlinkStatusOutput
from producers.recording import RecordingSource
from producers.sampling import PUBLISH_S
from producers.simulator import SPEED, Simulator
from producers.source import Source, SourceError

FORMS = {  # how a source is written: what it reads
    "kmsg": "the kernel's log on this machine, live",
    "kernel-log:FILE": "a kernel or Fabric Manager log",
    "journal": "the kernel's messages in this machine's journal, live",
    "dcgm": "DCGM's host engine on this machine; dcgm://HOST:PORT or dcgm:///SOCKET name another one",
    "nvml": "the driver's own library, for machines without DCGM",
    "exporter:URL|FILE": "a dcgm-exporter, or a page of one in a file",
    "diagnostic:FILE": "what `dcgmi diag -j` printed; 2@FILE where level 2 was asked for",
    "nvlink-status:FILE": "what `nvidia-smi nvlink --status` printed",
    "bandwidth:FILE": "what nvbandwidth or the NCCL tests printed",
    "simulator:N": "a simulated fleet of N GPUs",
    "recording:FILE": "a recording, .jsonl or .zst",
}
ENGINE = re.compile("dcgm://.+")


def open_source(
    spec: str,
    *,
    node: str | None = None,
    cluster: str = "default",
    timezone: tzinfo | None = None,
    follow: bool = False,
    own_clock: bool = False,
    interval_s: float = 1.0,
    publish_s: float = PUBLISH_S,
    seed: int = 0,
    start_ms: int = START_MS,
    speed: float = SPEED,
    failure_rate: float = 1.0,
    opening: bool = True,
    for_s: int | None = None,
) -> Source:
    """The source that `spec` names, not opened yet. It takes those of the options that concern it.

    node: whose observations these are where they do not say it; None = this machine's name, or the file's.
    timezone: of log times that name none; None = this machine's. follow: wait for more at a log's end.
    own_clock: what a file tells is appended at its own time. interval_s: from one scrape or sample to the next.
    publish_s: from one frame of samples to the next; 0 = each sample is one.
    The others are the simulator's (`producers.simulator.Simulator`).

    Raises SourceError: there is no such source.
    """
    kind, _, what = spec.partition(":")
    form = next((form for form in FORMS if form.partition(":")[0] == kind), None)
    if form is None:
        raise SourceError(f"no such source: {spec!r}; sources are {', '.join(FORMS)}")
    complete = bool(what) if ":" in form else spec == form or ENGINE.fullmatch(spec)
    if not complete:
        raise SourceError(f"source {spec!r} is incomplete or too long; it is written {form}")
    match kind:
        case "kmsg":
            return Kmsg(node=node, cluster=cluster)
        case "journal":
            return Journal(node=node, cluster=cluster)
        case "dcgm":
            from producers.dcgm.source import Dcgm

            return Dcgm(what.removeprefix("//"), node=node, cluster=cluster, interval_s=interval_s, publish_s=publish_s)
        case "nvml":
            from producers.nvml.source import Nvml

            return Nvml(node=node, cluster=cluster, interval_s=interval_s, publish_s=publish_s)
        case "kernel-log":
            return KernelLog(what, node=node, cluster=cluster, timezone=timezone, follow=follow, own_clock=own_clock)
        case "nvlink-status":
            return NvlinkStatusOutput(what, node=node, cluster=cluster, follow=follow, own_clock=own_clock)
        case "bandwidth":
            return BandwidthOutput(what, node=node, cluster=cluster, follow=follow, own_clock=own_clock)
        case "exporter":
            return Exporter(what, node=node, cluster=cluster, interval_s=interval_s, own_clock=own_clock)
        case "diagnostic":
            return DiagnosticFile(what, node=node, cluster=cluster, own_clock=own_clock)
        case "recording":
            return RecordingSource(what)
    if not re.fullmatch("[1-9][0-9]{0,5}", what):
        raise SourceError(f"source {spec!r}: N is a number of GPUs, 1 to 999999")
    return Simulator(
        int(what),
        seed=seed,
        start_ms=start_ms,
        cluster=cluster,
        speed=speed,
        failure_rate=failure_rate,
        opening=opening,
        for_s=for_s,
    )
