"""Beside Quix Streams and Bytewax, which compute one rate per GPU from a message for each GPU and tick.

Each in an environment of its own, kept in the user's cache: they do not go together with one another's clients.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks import kafka_samples
from benchmarks.kafka_backlog import KINDS, measured, prepared
from benchmarks.kafka_faust import row
from benchmarks.kafka_load import broker
from benchmarks.kafka_samples import TOPIC, rate_of

WARM, COUNT = 50_000, 300_000  # messages
SECONDS = {False: 1_500, True: 900}  # of ours
RIVALS = {  # what to install, and what is wanted of ours beside it
    "quix": (("quixstreams==3.28.0", "orjson==3.13.0"), 30),
    "bytewax": (("bytewax[kafka]==0.21.1", "orjson==3.13.0"), 12),
}


def main() -> None:
    with broker() as started:
        bootstrap = started.bootstrap
        ours = {kind: measured(*prepared(bootstrap, SECONDS[moving], moving=moving)) for moving, kind in KINDS.items()}
        asyncio.run(kafka_samples.create(bootstrap, TOPIC))
        asyncio.run(kafka_samples.publish(bootstrap, COUNT))
        for rival, (packages, target) in RIVALS.items():
            python = environment(rival, packages)
            if python is None:
                continue
            script = Path(__file__).parent / "rivals" / f"{rival}_rates.py"
            other = rate_of([str(python), str(script), bootstrap, TOPIC, str(WARM), str(COUNT)])
            row(f"{packages[0]}, one rate", other, other)
            for kind, found in ours.items():
                row(f"ours, all signals, {kind}", found, other, target)


def environment(name: str, packages: tuple[str, ...]) -> Path | None:
    """The interpreter of an environment with `packages`; None, with the reason printed, where it cannot be made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "gpu-vitals" / "benchmarks" / name
    made, python = place / "made", place / "bin" / "python"
    if made.exists() and made.read_text() == str(packages):
        return python
    venv.create(place, clear=True, with_pip=True)
    # Our own constraints are not theirs.
    unconstrained = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    argv = [str(python), "-m", "pip", "install", "--quiet", *packages]
    done = subprocess.run(argv, env=unconstrained, capture_output=True, text=True)
    if done.returncode:
        print(f"{name:44}SKIPPED: {' '.join(argv)}: {done.stderr.strip()[-500:]}", file=sys.stderr, flush=True)
        return None
    made.write_text(str(packages))
    return python


if __name__ == "__main__":
    main()
