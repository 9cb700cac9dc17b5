"""`gpu-vitals run` with 1,000 simulated GPUs at 1 Hz: share of a core and memory, beside an idle interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GPUS, WARM_S, MEASURED_S = 1000, 15, 45
BARE = "import time; import numpy, msgspec, zstandard, prometheus_client; time.sleep(3)"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        argv = [sys.executable, "-m", "pipeline", "run", "--source", f"simulator:{GPUS}", "--speed", "1"]
        argv += ["--data-dir", directory, "--json", "--listen", "0", "--for", f"{WARM_S + MEASURED_S + 5}s"]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        bare = subprocess.Popen([sys.executable, "-c", BARE])
        time.sleep(2)
        baseline = resident_mib(bare.pid)
        bare.wait()
        time.sleep(WARM_S - 2)
        before, start = cpu_s(process.pid), time.monotonic()
        time.sleep(MEASURED_S)
        share = (cpu_s(process.pid) - before) / (time.monotonic() - start)
        memory = resident_mib(process.pid)
        process.terminate()
        process.wait()
        size = sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file()) / 2**20
    print(f"{GPUS} GPUs at 1 Hz: {100 * share:.1f} % of a core (limit 10), {size:.0f} MiB on disk")
    print(f"{memory:.0f} MiB peak (limit 200), {memory / baseline:.2f} x an interpreter with the same libraries")


if __name__ == "__main__":
    main()
