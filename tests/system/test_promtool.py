"""The page that Prometheus scrapes, before the judge that Prometheus brings along."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

from schemas import fields, frames, topics
from schemas.log import Record
from schemas.records import Gpu, Order
from schemas.states import Step
from sinks.metrics import MetricsSink
from tests.sinks.test_workflow_metrics import Fleet

pytestmark = pytest.mark.system

# A gauge by specification, with a name that Prometheus keeps for counters.
DOCUMENTED = 'dcgm_retired_pages_total non-counter metrics should not have "_total" suffix'
PROGRAM = [sys.executable, "-c", "from pipeline.cli import main; main()", "run"]


def findings(page):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).splitlines()


def scraped(*args, until):
    """The page of a real run, once it shows `until`."""
    command = [*PROGRAM, *args, "--listen", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://[\d.:]+/metrics", process.stderr.readline())[0]
            deadline = time.monotonic() + 120
            while True:
                with urlopen(address, timeout=60) as answer:
                    page = answer.read().decode()
                if until in page:
                    return page
                assert time.monotonic() < deadline, page
                time.sleep(0.1)
        finally:
            process.terminate()


def test_a_real_run_has_no_finding_but_the_documented_one():
    page = scraped("--source", "simulator:64", "--speed", "100", until="dynamo_gpu_eviction_total{")
    assert set(findings(page)) <= {DOCUMENTED}


def test_with_every_specified_metric_there_is_exactly_the_documented_one():
    shown = (fields.GPU_TEMP, fields.ECC_SBE_VOLATILE, fields.ECC_DBE_VOLATILE, fields.RETIRED_SBE)
    shown += (fields.RETIRED_DBE, *fields.NVLINK_CRC_FLIT)
    gpus = [Gpu(uuid="GPU-a", bdf="0000:18:00")]
    frame = frames.build(node="n1", seq=1, gpus=gpus, ticks=[1], columns={field: [1.0] for field in shown})
    sink = MetricsSink()
    record = Record(0, 1, "n1", frames.KIND, frames.encode(frame))
    asyncio.run(sink.apply(topics.OBSERVATIONS, [record]))
    assert findings(sink.page().decode()) == [DOCUMENTED]


def test_what_is_told_of_cases_has_no_finding():
    fleet = Fleet()
    order = Order(id="o1", action="reset", boot="b", sequence=1, expires=1)
    fleet.case(1, Step.DRAINED, waits="budget", deadline=1)
    fleet.case(1, Step.RESETTING, after_s=9, attempts=1, order=order)
    fleet.decision(1, "storm")
    fleet.result()
    assert findings(fleet.sink.page().decode()) == []
