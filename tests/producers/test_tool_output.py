"""Files that tools have printed, as sources: `nvlink-status:FILE`, `bandwidth:FILE`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers.bandwidth import BandwidthOutput
from producers.kit import check_source
from producers.nvlink_status import NvlinkStatusOutput
from producers.source import Observed, SourceError
from producers.tool_output import ToolOutput
from schemas import records

UUID = "GPU-00000000-0000-4000-8000-00000000000a"
STATUS = f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {UUID})\n\t Link 0: 26.562 GB/s\n\t Link 1: <inactive>\n"
RANKS = "# Using devices\n#  Rank  0 Group  0 Pid 1 on {} device  0 [0000:18:00] NVIDIA\n"
RANKS += "#  Rank  1 Group  0 Pid 2 on {} device  1 [0000:3b:00] NVIDIA\n"
RUN = RANKS + "#       size  time   algbw   busbw\n  8388608  90.1  350.5  350.5\n"
WRITTEN_S = 1_800_000_000


def write(path: Path, text: str, at_s: int = WRITTEN_S) -> Path:
    path.write_text(text)
    os.utime(path, (at_s, at_s))
    return path


def said(observed: list[Observed], kind: str, type_: Any) -> list[Any]:
    return [msgspec.json.decode(one.value, type=type_) for one in observed if one.kind == kind]


def test_the_links_of_each_gpu_as_of_when_the_file_was_written(tmp_path: Path) -> None:
    path = write(tmp_path / "dgx7.txt", STATUS)
    (links,) = said(check_source(lambda: NvlinkStatusOutput(path)), "links", records.LinkStatus)
    assert links == records.LinkStatus(
        ts=1000 * WRITTEN_S, node="dgx7", uuid=UUID, model="NVIDIA H100 80GB HBM3", links=["up", "down"]
    )


def test_what_was_measured_between_two_gpus(tmp_path: Path) -> None:
    path = write(tmp_path / "nccl.txt", RUN.format("node7", "node7"))
    (measured,) = said(check_source(lambda: BandwidthOutput(path, own_clock=True)), "bandwidth", records.Bandwidth)
    assert (measured.node, measured.bdf, measured.peer_bdf, measured.peer_node) == (
        "node7",
        "0000:18:00",
        "0000:3b:00",
        "",
    )
    assert (measured.gb_per_s, measured.tool, measured.ts) == (350.5, "nccl-tests", 1000 * WRITTEN_S)


def test_a_given_name_stands_for_one_machine_not_for_two(tmp_path: Path) -> None:
    one = write(tmp_path / "one.txt", RUN.format("pod-a", "pod-a"))
    (measured,) = said(check_source(lambda: BandwidthOutput(one, node="dgx7")), "bandwidth", records.Bandwidth)
    assert (measured.node, measured.peer_node) == ("dgx7", "")
    two = write(tmp_path / "two.txt", RUN.format("tray1", "tray2"))
    (measured,) = said(check_source(lambda: BandwidthOutput(two, node="dgx7")), "bandwidth", records.Bandwidth)
    assert (measured.node, measured.peer_node) == ("tray1", "tray2")


@pytest.mark.parametrize("text", ["", "PING 10.0.0.1\n"])
def test_a_file_of_something_else_is_told_to_be_that(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "x.txt", text)

    async def read(source: ToolOutput) -> None:
        await source.open(None)
        await source.read()

    for source, why in (
        (NvlinkStatusOutput(path), "no GPU is named"),
        (BandwidthOutput(path), "the output neither of"),
    ):
        with pytest.raises(SourceError, match=f"x.txt: nothing can be used: .*{why}"):
            asyncio.run(read(source))


def test_what_could_not_be_used_is_said_beside_what_could(tmp_path: Path) -> None:
    path = write(tmp_path / "links.txt", STATUS + "GPU 1: Fixture\n")
    observed = check_source(lambda: NvlinkStatusOutput(path))
    assert len(said(observed, "links", records.LinkStatus)) == 1
    (status,) = said(observed, "source", records.SourceStatus)
    assert (status.state, status.detail) == ("ok", "a GPU without a UUID: 'GPU 1: Fixture'")


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gone.txt"
    with pytest.raises(SourceError, match=r"gone\.txt: cannot read the tool's output: No such file"):
        asyncio.run(NvlinkStatusOutput(path).open(None))


def test_a_followed_file_is_read_each_time_it_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.tool_output.POLL_S", 0.0)
    path = write(tmp_path / "links.txt", STATUS)

    async def follow() -> list[int]:
        source = NvlinkStatusOutput(path, follow=True)
        await source.open(None)
        counts = [len(await source.read()), len(await source.read())]
        write(path, STATUS, WRITTEN_S + 60)
        counts += [len(await source.read()), len(await source.read())]
        await source.close()
        return counts

    assert asyncio.run(follow()) == [1, 0, 1, 0]


def test_bytes_that_are_no_text_spoil_nothing(tmp_path: Path) -> None:
    path = tmp_path / "links.txt"
    path.write_bytes(b"\xff\xfe\x00\n" + STATUS.encode())
    assert len(said(check_source(lambda: NvlinkStatusOutput(path)), "links", records.LinkStatus)) == 1
