"""docs/health-weights.md keeps its word: its scheduler runs, over HTTP and from Kafka."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import decision, publish
from scripts.kafka_broker import free_port

NOBODY = "no healthy GPUs available: 2 workers, each with a GPU of weight 0: 1 degraded, 1 failed"
PAGE = (Path(__file__).resolve().parents[2] / "docs/health-weights.md").read_text("utf-8")


def example(name):
    return re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(params=["http", "kafka"])
def source(request, kafka: Kafka):
    """The page's lines that make one, for where it really is."""
    if request.param == "kafka":
        code = example("kafka").replace("127.0.0.1:9092", kafka.bootstrap)
        yield code.replace('prefix="gpu-vitals."', f'prefix="{kafka.prefix}"')
        return
    port = free_port()
    words = ["sink", "decisions", "--listen", str(port), "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
    with subprocess.Popen([sys.executable, "-m", "pipeline", *words], stderr=subprocess.DEVNULL) as server:
        yield example("http").replace("9109", str(port))
        server.terminate()


def say(kafka, *outputs):
    asyncio.run(publish(kafka, outputs))


def test_the_scheduler_places_requests_and_refuses_them_in_words(kafka: Kafka, source):
    say(kafka, decision(0, cause=1), decision(1, 0.0, cause=2), decision(2, cause=3), decision(3, 0.5, cause=4))
    program = source + example("scheduler")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as scheduler:

        def ask(request):
            scheduler.stdin.write(f"{request}\n")
            scheduler.stdin.flush()
            return scheduler.stdout.readline().strip()

        assert [ask(number) for number in range(20)] == [f"{number} to worker-1" for number in range(20)]
        say(kafka, decision(3, 0.0, cause=5, condition="degraded"))
        while (answer := ask("again")) == "again to worker-1":  # until it has heard of it
            continue
        assert answer == f"again refused: {NOBODY}"
        say(kafka, decision(1, 0.4, cause=6))
        while (answer := ask("more")) == f"more refused: {NOBODY}":
            continue
        assert answer == "more to worker-0"
        scheduler.stdin.close()
        assert scheduler.wait(timeout=60) == 0


def test_waiting_for_a_drained_gpu_under_asyncio(kafka: Kafka, source):
    say(kafka, decision(0, cause=1), decision(1, cause=2))
    names = {"asyncio": asyncio}
    exec(source + example("asyncio"), names)

    async def drain():
        waiting = asyncio.create_task(names["drained"](names["source"], "GPU-00000001"))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        await publish(kafka, [decision(1, 0.0, cause=3)])
        async with asyncio.timeout(60):
            await waiting

    asyncio.run(drain())
