from __future__ import annotations

import pytest

from producers.bandwidth import BandwidthOutput
from producers.catalog import FORMS, open_source
from producers.dcgm.source import Dcgm
from producers.diagnostic import DiagnosticFile
from producers.exporter import Exporter
from producers.journal import Journal
from producers.kernel_log import KernelLog
from producers.kmsg import Kmsg
from producers.nvlink_status import NvlinkStatusOutput
from producers.nvml.source import Nvml
from producers.recording import RecordingSource
from producers.simulator import Simulator
from producers.source import SourceError


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("kmsg", Kmsg),
        ("journal", Journal),
        ("dcgm", Dcgm),
        ("dcgm://node7:5555", Dcgm),
        ("dcgm:///run/nv-hostengine.sock", Dcgm),
        ("nvml", Nvml),
        ("kernel-log:/var/log/kern.log", KernelLog),
        ("exporter:http://localhost:9400/metrics", Exporter),
        ("exporter:page.prom", Exporter),
        ("diagnostic:diag.json", DiagnosticFile),
        ("diagnostic:2@diag.json", DiagnosticFile),
        ("nvlink-status:links.txt", NvlinkStatusOutput),
        ("bandwidth:nccl.txt", BandwidthOutput),
        ("simulator:16", Simulator),
        ("recording:fleet.jsonl.zst", RecordingSource),
    ],
)
def test_each_form_names_its_source(spec: str, kind: type) -> None:
    source = open_source(spec)
    assert type(source) is kind
    assert source.name == spec


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "nvml:0",
        "journal:x",
        "kmsg:x",
        "recording",
        "recording:",
        "exporter:",
        "diagnostic:",
        "dcgm:",
        "dcgm://",
        "dcgm:5555",
    ],
)
def test_an_error_names_what_is_allowed_in_one_line(spec: str) -> None:
    with pytest.raises(SourceError) as error:
        open_source(spec)
    assert any(form in str(error.value) for form in FORMS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", ["0", "-1", "x", "1e3", "٣", "9" * 5000])
def test_a_simulator_needs_a_number_of_gpus(count: str) -> None:
    with pytest.raises(SourceError, match="N is a number of GPUs"):
        open_source(f"simulator:{count}")


@pytest.mark.parametrize("url", ["ftp://x/metrics", "http://", "http://[::1", "http://h:99999/"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(SourceError, match="is no address"):
        open_source(f"exporter:{url}")
