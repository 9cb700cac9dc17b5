"""`gpu-vitals simulate`: a recording of a simulated fleet, with the truth about its faults beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from pipeline.errors import UsageProblem
from schemas.counts import counted

if TYPE_CHECKING:
    from producers.fleet import Fleet

SUFFIXES = (".zst", ".jsonl")
SECONDS_MAX = 366 * 86_400


@click.command(name="simulate")
@click.option("--gpus", default=64, show_default=True, type=click.IntRange(1, 100_000), help="GPUs, in nodes of 8.")
@click.option("--for", "duration", default="1h", show_default=True, metavar="TIME", help="Simulated time, as in 90s.")
@click.option("--seed", default=0, show_default=True, help="Another seed is another fleet; an equal one is the same.")
@click.option(
    "--faults",
    "failure_rate",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.0),
    metavar="FACTOR",
    help="Failures, as a multiple of how often real fleets have them.",
)
@click.option(
    "--opening/--no-opening",
    default=True,
    show_default=True,
    help="Begin with one failure of each mode, in six minutes.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The recording: .jsonl, or .zst.")
def command(gpus: int, duration: str, seed: int, failure_rate: float, opening: bool, out: Path) -> None:
    """Write a recording of a simulated fleet, and each injected fault to FILE.truth.jsonl beside it.

    Equal options give equal files.
    """
    from pipeline.settings import parse_duration
    from producers.fleet import Fleet

    seconds = parse_duration(duration)
    if not 1 <= seconds <= SECONDS_MAX:
        raise UsageProblem(f"--for: from 1 second to a year, not {duration}")
    fleet = Fleet(gpus, seed=seed, failure_rate=failure_rate, opening=opening)
    truth = truth_path(out)
    try:
        with open_output(out) as file:
            count = write_recording(fleet, int(seconds), file)
        write_truth(fleet, truth)
    except OSError as error:
        raise UsageProblem(f"{error.filename or out}: cannot write: {error.strerror}") from None
    click.echo(
        f"{out}: {counted(count, 'record')} of {counted(gpus, 'GPU')}; {truth}: {counted(len(fleet.truth), 'fault')}"
    )


def truth_path(out: Path) -> Path:
    name = out.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return out.with_name(f"{name}.truth.jsonl")


def write_recording(fleet: Fleet, seconds: int, file: IO[bytes]) -> int:
    """Let the fleet live for `seconds`, and write what it says. Returns the number of records."""
    from schemas.log import Record
    from schemas.recording import render

    offset = 0
    for _ in range(seconds):
        for said in fleet.advance():
            assert said.ts is not None
            file.write(render("node", Record(offset, said.ts, said.node, said.kind, said.value)))
            offset += 1
    return offset


def write_truth(fleet: Fleet, path: Path) -> None:
    import msgspec

    path.write_bytes(b"".join(msgspec.json.encode(fault) + b"\n" for fault in fleet.truth))


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """The file to write to, compressing if it is called so."""
    import zstandard

    with path.open("wb") as file:
        if path.suffix != ".zst":
            yield file
            return
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as compressed:
            yield compressed
