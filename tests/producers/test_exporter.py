from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers.exporter import Exporter
from producers.kit import check_source
from producers.source import Observed, SourceError
from schemas import frames, records

A = 'gpu="0",UUID="GPU-a",pci_bus_id="00000000:1B:00.0",modelName="NVIDIA H100",Hostname="n1"'
B = A.replace("GPU-a", "GPU-b").replace("1B", "2C")
TEMPS = f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40\nDCGM_FI_DEV_GPU_TEMP{{{B}}} 41\n"
CLOCKS = f"DCGM_FI_DEV_SM_CLOCK{{{A}}} 345\nDCGM_FI_DEV_SM_CLOCK{{{B}}} 345\n"


def xid(code: int, labels: str = A) -> str:
    return f'DCGM_FI_DEV_XID_ERRORS{{{labels},err_code="{code}",err_msg="bad luck"}} {code}\n'


def ok(body: str, length: int | None = None, type: str = "text/plain; version=0.0.4") -> bytes:
    length = len(body) if length is None else length
    return f"HTTP/1.1 200 OK\r\nContent-Type: {type}\r\nContent-Length: {length}\r\n\r\n{body}".encode()


@contextmanager
def exporter(*answers: bytes, silent: bool = False) -> Iterator[str]:
    """The address of a server that gives one answer to each request, the last one again and again.

    silent: after an answer the connection stays open.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    open_ends: list[socket.socket] = []

    def serve() -> None:
        for number in range(1000):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_ends.append(connection)
            connection.recv(65536)
            connection.sendall(answers[min(number, len(answers) - 1)])
            if not silent:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_ends:
            connection.close()


def scrape(url: str, times: int = 1, **options: Any) -> list[list[Observed]]:
    async def run() -> list[list[Observed]]:
        source = Exporter(url, node="given", **({"interval_s": 0.0, "timeout_s": 60.0} | options))
        await source.open(None)
        pages = [await source.read() for _ in range(times)]
        await source.close()
        return pages

    return asyncio.run(run())


def temps(observed: list[Observed]) -> dict[str, dict[str, float]]:
    found = {}
    for one in observed:
        if one.kind == frames.KIND:
            frame = frames.decode(one.value)
            columns = dict(frame.columns())
            found[frame.node] = dict(zip((gpu.uuid for gpu in frame.gpus), columns.get(150, []), strict=False))
    return found


def of(kind: str, observed: list[Observed], type: Any) -> list[Any]:
    return [msgspec.json.decode(one.value, type=type) for one in observed if one.kind == kind]


def statuses(observed: list[Observed]) -> list[tuple[str, str]]:
    return [(one.state, one.detail) for one in of("source", observed, records.SourceStatus)]


def faults(observed: list[Observed]) -> list[records.KernelFault]:
    return of("kernel", observed, records.KernelFault)


def test_a_scrape_is_a_frame_for_each_node_and_inventory_when_it_changes() -> None:
    other = 'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-c",Hostname="n2"} 50\n'
    with exporter(ok(TEMPS + other), ok(TEMPS + other), ok(TEMPS)) as url:
        first, second, third = scrape(url, 3)
    assert temps(first) == {"n1": {"GPU-a": 40, "GPU-b": 41}, "n2": {"GPU-c": 50}}
    inventories = of("inventory", first, records.Inventory)
    assert {one.node: [gpu.uuid for gpu in one.gpus] for one in inventories} == {
        "n1": ["GPU-a", "GPU-b"],
        "n2": ["GPU-c"],
    }
    assert {one.kind for one in second} == {"telemetry"}
    assert temps(third) == {"n1": {"GPU-a": 40, "GPU-b": 41}}


def test_a_gpu_that_vanishes_is_not_in_the_frame_and_stays_in_the_inventory() -> None:
    alone = f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40\n"
    with exporter(ok(TEMPS), ok(alone)) as url:
        _, after = scrape(url, 2)
    assert [one.kind for one in after] == ["telemetry"]
    assert temps(after) == {"n1": {"GPU-a": 40}}


def test_a_gpu_that_takes_anothers_slot_replaces_it_in_the_inventory() -> None:
    with exporter(ok(TEMPS), ok(TEMPS.replace("GPU-b", "GPU-new"))) as url:
        _, after = scrape(url, 2)
    (inventory,) = of("inventory", after, records.Inventory)
    assert [gpu.uuid for gpu in inventory.gpus] == ["GPU-a", "GPU-new"]


def test_the_xid_at_first_sight_is_no_event_and_a_change_is() -> None:
    with exporter(*(ok(TEMPS + xid(code)) for code in (31, 31, 79, 79, 31))) as url:
        pages = scrape(url, 5)
    assert [[fault.code for fault in faults(page)] for page in pages] == [[], [], [79], [], [31]]
    (fault,) = faults(pages[2])
    assert (fault.fault, fault.uuid, fault.bdf, fault.node) == ("xid", "GPU-a", "0000:1b:00", "n1")
    assert (fault.message, fault.raw) == ("bad luck", xid(79).strip())


def test_an_xid_that_appears_on_a_known_gpu_is_an_event() -> None:
    with exporter(ok(TEMPS), ok(TEMPS + xid(79)), ok(TEMPS), ok(TEMPS + xid(79))) as url:
        pages = scrape(url, 4)
    assert [[fault.code for fault in faults(page)] for page in pages] == [[], [79], [], []]


def test_xid_zero_means_none() -> None:
    with exporter(ok(TEMPS + xid(31)), ok(TEMPS + xid(0)), ok(TEMPS + xid(31))) as url:
        pages = scrape(url, 3)
    assert [[fault.code for fault in faults(page)] for page in pages] == [[], [], [31]]


def test_samples_without_uuid_are_counted_and_their_neighbours_kept() -> None:
    bad = 'DCGM_FI_DEV_GPU_TEMP{gpu="7"} 99\n'
    with exporter(ok(TEMPS + bad), ok(TEMPS + bad), ok(TEMPS)) as url:
        pages = scrape(url, 3)
    assert [[state for state, _ in statuses(page)] for page in pages] == [["failing"], [], ["ok"]]
    assert "1 sample names no UUID" in statuses(pages[0])[0][1]
    assert all(temps(page) == {"n1": {"GPU-a": 40, "GPU-b": 41}} for page in pages)


def test_half_a_page_gives_its_whole_metrics_and_says_so() -> None:
    cuts = {
        "the page lacks 100 of its bytes": ok(CLOCKS + TEMPS, length=len(CLOCKS + TEMPS) + 100),
        "the page ends in the middle of a line": ok(CLOCKS + TEMPS + "DCGM_FI_DEV_POWER_USA"),
        "the connection broke in the middle of the page": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(CLOCKS + TEMPS) + 50)
        )
        + (CLOCKS + TEMPS).encode(),
    }
    for why, answer in cuts.items():
        with exporter(answer) as url:
            (page,) = scrape(url)
        assert statuses(page) == [("failing", why)]
        (frame,) = [frames.decode(one.value) for one in page if one.kind == frames.KIND]
        assert dict(frame.columns()) == {100: [345, 345]}


def test_a_page_that_stops_coming_gives_its_whole_metrics() -> None:
    with exporter(ok(CLOCKS + TEMPS, length=9999), silent=True) as url:
        (page,) = scrape(url, timeout_s=2.0)  # the server has so long to send what it sends
    assert statuses(page) == [("failing", "the page stopped coming in the middle")]
    assert [one.kind for one in page] == ["source", "telemetry"]


def test_a_chunked_page_is_read_whole() -> None:
    body = TEMPS.encode()
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with exporter(answer) as url:
        (page,) = scrape(url)
    assert (statuses(page), temps(page)) == ([], {"n1": {"GPU-a": 40, "GPU-b": 41}})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n" + TEMPS.encode(), "HTTP 500 Internal Server Error"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/y\r\n\r\n", "HTTP 302 Found, moved to http://x/y"),
        (ok("<html><body>40</body></html>", type="text/html"), "answered with HTML"),
        (ok("\n <!doctype html>\n"), "answered with HTML"),
        (ok(""), "holds no metric of DCGM"),
        (ok("go_goroutines 7\n"), "holds no metric of DCGM"),
        (ok("DCGM_FI_DEV_GPU_TEMP 40"), "ends in the middle of a line"),
        (b"", "without response"),
        (b"\x00\xff\x00 no http at all\r\n\r\n", "no http at all"),
        (ok("\x01\x02\n"), "1 line is no metric"),
    ],
)
def test_what_is_no_page_is_one_clear_line_and_no_value(answer: bytes, why: str) -> None:
    with exporter(answer) as url, pytest.raises(SourceError, match=why) as error:
        scrape(url)
    assert url in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_for_too_long_is_an_error() -> None:
    with exporter(b"", silent=True) as url, pytest.raises(SourceError, match=r"no answer within 0\.1 s"):
        scrape(url, timeout_s=0.1)


def test_a_refused_connection_asks_whether_the_exporter_runs() -> None:
    with exporter(b"") as url:
        pass
    with pytest.raises(SourceError, match="connection refused; is the exporter running there") as refused:
        scrape(url)
    assert refused.value.cause == "exporter-down"


def test_the_next_scrape_waits_for_its_time() -> None:
    with exporter(ok(TEMPS)) as url:
        pages = scrape(url, 2, interval_s=0.05)
    assert [bool(temps(page)) for page in pages] == [True, True]


def test_a_file_is_read_once_as_of_the_time_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "n9.prom"
    path.write_text('DCGM_FI_DEV_MEMORY_TEMP{UUID="GPU-a",pod=""} 9223372036854775794\n')
    os.utime(path, (1_800_000_000, 1_800_000_000))
    inventory, telemetry = check_source(lambda: Exporter(str(path), own_clock=True))
    assert inventory.kind == "inventory"
    assert (telemetry.node, telemetry.ts) == ("n9", 1_800_000_000_000)
    frame = frames.decode(telemetry.value)
    (blank,) = dict(frame.columns())[140]
    assert blank != blank
    assert frame.ticks == [1_800_000_000_000]


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.prom: cannot read the page: No such file"):
        scrape(str(tmp_path / "none.prom"))
