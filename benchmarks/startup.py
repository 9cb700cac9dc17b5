"""How fast the command line answers, beside the bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7
COMMANDS = (["--help"], ["--version"], ["xid", "explain", "48"], ["policy", "show"], ["scan", "--help"])
LOOKING = (
    "from pipeline.commands import scan; from producers import machine; machine.look(); from pipeline import listening"
)


def median_s(argv: list[str]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    bare = median_s([sys.executable, "-c", "pass"])
    print(f"{'bare interpreter':32}{1000 * bare:8.0f} ms")
    commands = {f"gpu-vitals {' '.join(command)}": ["-m", "pipeline", *command] for command in COMMANDS}
    for name, argv in {**commands, "gpu-vitals scan, till it reads": ["-c", LOOKING]}.items():
        took = median_s([sys.executable, *argv])
        print(f"{name:32}{1000 * took:8.0f} ms{took / bare:8.1f} x")


if __name__ == "__main__":
    main()
