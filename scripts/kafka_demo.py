"""The whole system on a Kafka of its own, to look at: a broker, two workers, simulated agents, the live view.

    $ make kafka-demo

Kill a worker while you watch (the pids are printed): the other one takes over within seconds, nothing is lost and
nothing is said twice. Ctrl-C ends it all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from scripts.kafka_broker import KAFKA, Broker, BrokerFailed

GPUS, SPEED = 64, 10
READ_S = 4.0  # for the first lines
CLI = [sys.executable, "-m", "pipeline"]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C: nothing is left behind
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-vitals-demo-")))
        broker = Broker(directory / "broker")
        stack.callback(broker.kill)
        try:
            broker.start()
        except BrokerFailed as failure:
            sys.exit(f"error: {failure}")
        environment = os.environ | {
            "GPU_VITALS_KAFKA_BOOTSTRAP": broker.bootstrap,
            "GPU_VITALS_KAFKA_PARTITIONS": "4",
            "GPU_VITALS_KAFKA_SESSION_TIMEOUT_S": "3",
            "GPU_VITALS_AGENT_SPOOL_DIR": str(directory / "spool"),
        }
        print(f"Apache Kafka {KAFKA} at {broker.bootstrap}", flush=True)
        subprocess.run([*CLI, "topics", "create"], env=environment, stdout=subprocess.DEVNULL, check=True)

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((directory / f"{arguments[0]}.log").open("ab"))
            process = subprocess.Popen([*CLI, *arguments], env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        for name in ("one", "two"):
            worker = start("worker", "--instance", name)
            print(f"worker {name}: pid {worker.pid}; end it with: kill -9 {worker.pid}", flush=True)
        start("agent", "--source", f"simulator:{GPUS}", "--speed", str(SPEED))
        print(f"agents: {GPUS} simulated GPUs, {SPEED} x real time", flush=True)
        time.sleep(READ_S)
        with suppress(KeyboardInterrupt):
            subprocess.run([*CLI, "sink", "console", *sys.argv[1:]], env=environment, check=False)


if __name__ == "__main__":
    main()
