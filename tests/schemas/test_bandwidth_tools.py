"""nvbandwidth and the NCCL tests, as they print."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bandwidth_tools import parse
from schemas.measured import Measured, Place

BDF = ("00000000:18:00", "00000000:3b:00", "00000000:5d:00")
A, B, C = (Place("", bdf[4:]) for bdf in BDF)
READ = "memcpy CE GPU(row) -> GPU(column) bandwidth (GB/s)"
WRITE = "memcpy CE GPU(row) <- GPU(column) bandwidth (GB/s)"
BOTH = "memcpy CE GPU(row) <-> GPU(column) Write1 bandwidth (GB/s)"
HOST = "memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)"
TABLE = (("N/A", "394.10", "389.00"), ("393.00", "N/A", "120.50"), ("391.00", "121.00", "N/A"))


def devices(count: int = 3) -> str:
    return "".join(f"Device {n}: NVIDIA H100 80GB HBM3 ({BDF[n]})\n" for n in range(count)) + "\n"


def table(title: str, rows: Any = TABLE) -> str:
    head = "  " + "".join(f"{column:>10}" for column in range(len(rows[0])))
    body = "".join(f"{at}  " + "".join(f"{cell:>10}" for cell in row) + "\n" for at, row in enumerate(rows))
    return f"Running test.\n{title}\n{head}\n{body}\nSUM test 1.0\n\n"


def text(*tables: str, count: int = 3) -> str:
    return "nvbandwidth Version: v0.8\nBuilt from Git version: v0.8\n\n" + devices(count) + "".join(tables)


def document(*tests: tuple[str, Any], named: bool = True, **more: Any) -> str:
    inner: dict[str, Any] = {
        "version": "v0.8",
        "testcases": [
            {"name": "t", "status": "Passed", "bandwidth_description": title, "bandwidth_matrix": rows}
            for title, rows in tests
        ],
    }
    if named:
        inner["GPU Device list"] = [f"{n}: NVIDIA H100 80GB HBM3 ({bdf}): (node7)" for n, bdf in enumerate(BDF)]
    return json.dumps({"nvbandwidth": inner | more}, indent=3)


def ways(measured: list[Measured]) -> dict[tuple[str, str], float]:
    return {(each.gpu.bdf[5:7], each.peer.bdf[5:7]): each.gb_per_s for each in measured}


# --- nvbandwidth ----------------------------------------------------------------------------------------------


def test_a_table_in_text() -> None:
    found = parse(text(table(READ)))
    assert (found.tool, found.notes) == ("nvbandwidth", [])
    assert Measured(B, C, 120.5) in found.measured
    assert ways(found.measured) == {
        ("18", "3b"): 394.1,
        ("18", "5d"): 389.0,
        ("3b", "18"): 393.0,
        ("3b", "5d"): 120.5,
        ("5d", "18"): 391.0,
        ("5d", "3b"): 121.0,
    }


def test_a_table_in_json_names_the_machine() -> None:
    found = parse("* hwloc: a warning\n" + document((READ, TABLE)))
    assert (len(found.measured), found.notes) == (6, [])
    assert Measured(Place("node7", "0000:3b:00"), Place("node7", "0000:5d:00"), 120.5) in found.measured


def test_an_arrow_tells_the_direction() -> None:
    (one,) = parse(text(table(WRITE, (("0.00", "300.00"), ("0.00", "0.00"))), count=2)).measured
    assert one == Measured(B, A, 300.0)


def test_the_best_test_of_a_pair_counts() -> None:
    slow, fast = (("0.00", "200.00"), ("0.00", "0.00")), (("0.00", "390.00"), ("0.00", "0.00"))
    assert ways(parse(text(table(READ, fast), table(READ, slow))).measured) == {("18", "3b"): 390.0}


@pytest.mark.parametrize("title", [BOTH, HOST, "Device to Device Latency SM GPU(row) <-> GPU(column) (ns)"])
def test_other_tables_are_left_alone(title: str) -> None:
    found = parse(text(table(title)) + table(READ, (("0.00", "390.00"), ("0.00", "0.00"))))
    assert ways(found.measured) == {("18", "3b"): 390.0}
    nothing = parse(text(table(title)))
    assert nothing.measured == []
    assert nothing.notes == ["no test between two GPUs in one direction: run device_to_device_memcpy_read_ce"]


def test_processes_of_several_machines() -> None:
    lines = "".join(f"Process {n} (node{n}): device 0: NVIDIA GB200 (0008:06:00)\n" for n in range(2))
    (one,) = parse(f"nvbandwidth Version: v0.8\n{lines}\n" + table(READ, (("N/A", "820.00"), ("N/A", "N/A")))).measured
    assert one == Measured(Place("node0", "0008:06:00"), Place("node1", "0008:06:00"), 820.0)


@pytest.mark.parametrize("said", [document((READ, TABLE), named=False), table(READ)])
def test_gpus_without_an_address_are_not_guessed(said: str) -> None:
    found = parse(said)
    assert found.measured == []
    assert "named by number alone" in found.notes[0]


def test_a_test_that_failed_spoils_no_other() -> None:
    assert len(parse(document((READ, None), (READ, [["x"], 7, None]), (READ, TABLE))).measured) == 6


# --- NCCL tests -----------------------------------------------------------------------------------------------

HEADER = (
    "#       size     count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong\n"
    "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)\n"
)


def nccl(ranks: int = 2, rows: tuple[tuple[float, float], ...] = ((12.0, 11.0), (350.5, 349.0)), **more: Any) -> str:
    host, end = more.get("host", "node7"), more.get("end", "# Out of bounds values : 0 OK\n")
    bus = more.get("bus", ("0000:18:00", "0000:3b:00", "0000:5d:00"))
    lines = [
        f"#  Rank {n:2} Group  0 Pid {100 + n} on {host:>10} device {n:2} [{bus[n]}] NVIDIA H100" for n in range(ranks)
    ]
    body = [
        f"{1 << 20 + at:12} {1 << 18 + at:13} float sum -1 4027.3 {out} {out} 0 4029.1 {inside} {inside} 0"
        for at, (out, inside) in enumerate(rows)
    ]
    return "# Using devices\n" + "\n".join(lines) + "\n#\n" + HEADER + "\n".join(body) + "\n" + end


def test_two_ranks_measure_a_pair_by_the_best_size() -> None:
    found = parse(nccl())
    pair = Measured(Place("node7", "0000:18:00"), Place("node7", "0000:3b:00"), 350.5)
    assert found == ("nccl-tests", [pair], [])


def test_several_runs_in_one_file() -> None:
    other = nccl(bus=("0000:18:00", "0000:5d:00"), rows=((120.0, 121.5),))
    assert ways(parse(nccl() + other).measured) == {("18", "3b"): 350.5, ("18", "5d"): 121.5}


def test_lines_with_the_marks_of_mpirun() -> None:
    said = "".join(f"[1,0]<stdout>:{line}\n" for line in nccl().splitlines())
    assert ways(parse(said).measured) == {("18", "3b"): 350.5}


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (nccl(3), "a run of 3 GPUs measures no pair"),
        (nccl(1), "a run of 1 GPU measures no pair"),
        (nccl(bus=("0x18", "0x3b")), "named by bus number alone"),
        (nccl(rows=()), "a run without a bandwidth"),
    ],
)
def test_what_names_no_pair_measures_none(said: str, note: str) -> None:
    found = parse(said)
    assert found.measured == []
    assert note in found.notes[0]


def test_wrong_results_are_told() -> None:
    found = parse(nccl(end="# Out of bounds values : 3 FAILED\n"))
    assert (len(found.measured), found.notes) == (1, ["3 values came out wrong"])


# --- any text -------------------------------------------------------------------------------------------------


def test_the_output_of_something_else_is_said_to_be_that() -> None:
    assert parse("PING 10.0.0.1") == ("", [], ["this is the output neither of nvbandwidth nor of the NCCL tests"])


@given(st.one_of(st.text(), st.text(alphabet='GPU(row)->colmnbandwith0123 \n{}[]":,nvbandwidth#Rk', max_size=300)))
def test_any_text_can_be_parsed(said: str) -> None:
    parse(said)
    parse("nvbandwidth\n" + said)
    parse("# Using devices busbw\n" + said)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(JSON, JSON, JSON)
def test_nothing_valid_is_lost_beside_json_that_is_not(tests: Any, matrix: Any, title: Any) -> None:
    parse(json.dumps({"nvbandwidth": {"testcases": tests, "GPU Device list": matrix}}))
    said = document((title, TABLE), (READ, matrix), (READ, TABLE), error=tests)
    assert ways(parse(said).measured).keys() >= ways(parse(text(table(READ))).measured).keys()


@given(st.text(alphabet="GPU(row)<colmnbandwith0123. \n#Rk", max_size=200))
def test_nothing_valid_is_lost_beside_text_that_is_not(noise: str) -> None:
    assert ways(parse(f"{noise}\n\n{text(table(READ))}\n\n{noise}").measured)[("3b", "5d")] >= 120.5
    assert ("18", "3b") in ways(parse(f"{noise}\n{nccl()}\n{noise}").measured)
