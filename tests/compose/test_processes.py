"""What compose.yaml declares does run, and does together what it is for: a fleet is judged, watched and asked about."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import contextmanager
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from scripts.kafka_broker import free_port
from tests.compose.dashboards import EXPRESSIONS
from tests.compose.stack import COMPOSE, eventually, running

pytestmark = pytest.mark.timeout(1200)  # whoever comes first waits until all of it runs
SINKS_UP = 'up{job="gpu-vitals-sink"} == 1'
OF_PROMETHEUS = ("_bucket", "_sum", "_count")  # what a histogram's name ends in


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """All of it. When the tests are through it is told to end, which each process does in time and with status 0."""
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
        assert {process.service: process.stop() for process in stack.processes} == {
            process.service: 0 for process in stack.processes
        }


def test_every_process_passes_its_own_health_check(stack):
    for process in stack.processes:
        assert eventually(process.healthy), process.log.read_text()


def test_schedulers_are_told_about_every_gpu(stack):
    [sink] = stack.of("decisions-sink")
    gpus = eventually(lambda: len(found := json.loads(sink.get("/v1/gpus"))["gpus"]) == 64 and found)
    assert {"node", "uuid", "weight"} <= gpus[0].keys()
    assert eventually(lambda: json.loads(sink.get("/readyz"))["ready"])


def test_prometheus_is_shown_the_fleet(stack):
    [sink] = stack.of("metrics-sink")
    assert eventually(lambda: "gpu_vitals_gpus{" in (page := sink.get("/metrics")) and judged(page) == 64)


def test_the_partitions_are_shared_out_among_the_workers(stack):
    def owned(service):
        pages = [worker.get("/metrics") for worker in stack.of(service)]
        return [int(float(count)) for page in pages for count in re.findall(r"_worker_partitions{.+} (\S+)", page)]

    assert eventually(lambda: sorted(owned("node-worker")) == [4, 4])
    assert eventually(lambda: owned("cluster-worker") == [1])


ACTS = (("commander-sink", "gpu_vitals_commander_enabled"), ("scheduler-sink", "gpu_vitals_scheduler_enabled"))


@pytest.mark.parametrize(("service", "metric"), ACTS)
def test_what_acts_is_a_dry_run_until_it_is_enabled_as_the_page_says(stack, service, metric):
    [dry] = stack.of(service)
    assert enabled(dry, metric) == 0
    settings = stack.acting()
    assert "enabled = false" in settings
    acting = stack.run(service, settings.replace("enabled = false", "enabled = true"))
    try:
        assert enabled(acting, metric) == 1, acting.log.read_text()
        assert eventually(acting.healthy), acting.log.read_text()
        assert acting.stop() == 0
    finally:
        acting.popen.kill()
        acting.popen.wait()


def test_every_metric_that_an_alert_or_a_panel_asks_for_is_served(stack):
    test_schedulers_are_told_about_every_gpu(stack)
    asked = "\n".join([(COMPOSE / "prometheus" / "alerts.yml").read_text("utf-8"), *EXPRESSIONS])
    named = set(re.findall(r"(?<!:)\b(?:gpu_vitals|dcgm|dynamo)_[a-z_]+", asked))

    def missing():
        pages = "".join(process.get("/metrics") for process in stack.processes)
        served = set(re.findall(r"^# TYPE (\S+)", pages, re.MULTILINE))
        return {name for name in named if name not in served and stem(name) not in served}

    # The stack has no tickets sink, as it knows no ticket system; what that serves stands in the generated reference.
    reference = (COMPOSE.parent / "docs" / "reference" / "metrics.md").read_text("utf-8")
    of_tickets = {name for name in named if name.startswith("gpu_vitals_ticket") and f"`{name}`" in reference}
    assert of_tickets
    assert missing() == of_tickets


@pytest.mark.system
def test_prometheus_scrapes_them_all_understands_every_query_and_raises_no_alert(stack, tmp_path):
    test_schedulers_are_told_about_every_gpu(stack)
    with prometheus(stack, tmp_path) as ask:
        expected = {f"127.0.0.1:{process.port}" for process in stack.processes}

        def answering():
            targets = [each for each in ask("targets")["activeTargets"] if each["scrapePool"].startswith("gpu-vitals")]
            return {each["labels"]["instance"] for each in targets if each["health"] == "up"} == expected

        assert eventually(answering)
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
        assert [each for each in ask("alerts")["alerts"] if each["state"] == "firing"] == []
        for each in EXPRESSIONS:
            ask(f"query?query={quote(each)}")  # one that it does not understand is answered with 400
        up = ask(f"query?query={quote(SINKS_UP)}")["result"]
        assert {each["metric"]["sink"] for each in up} == {"metrics", "decisions", "commander", "scheduler"}


def enabled(process, metric):
    value = rf"^{metric}(?:{{.+}})? (\S+)$"
    [found] = eventually(lambda: re.findall(value, process.get("/metrics"), re.MULTILINE))
    return float(found)


def judged(page):
    return sum(int(float(count)) for count in re.findall(r"^gpu_vitals_gpus{.+} (\S+)", page, re.MULTILINE))


def stem(name):
    return next((name.removesuffix(end) for end in OF_PROMETHEUS if name.endswith(end)), name.removesuffix("_total"))


@contextmanager
def prometheus(stack, directory):
    """A real one with the compose file's configuration; `ask("alerts")` asks its API."""
    config = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text("utf-8"))
    del config["alerting"]
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(COMPOSE / "prometheus" / "alerts.yml")]
    config["scrape_configs"] = [
        here(stack, each) for each in config["scrape_configs"] if each["job_name"] != "prometheus"
    ]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def ask(what):
        with urlopen(f"http://127.0.0.1:{port}/api/v1/{what}", timeout=60) as answer:
            return json.load(answer)["data"]

    try:
        assert eventually(lambda: ask("rules")["groups"])
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=120)


def here(stack, job):
    """The job with the addresses of the processes that it names by their services."""
    static = [{**each, "targets": at(stack, *each["targets"])} for each in job.pop("static_configs", [])]
    for each in job.pop("dns_sd_configs", []):
        for name in each["names"]:
            targets = at(stack, f"{name}:{each['port']}")
            static.append({"targets": targets, "labels": {"__meta_dns_name": name}})
    return {**job, "static_configs": static}


def at(stack, *targets):
    pairs = [target.split(":") for target in targets]
    assert all(stack.of(service) and all(p.inside == int(port) for p in stack.of(service)) for service, port in pairs)
    return [f"127.0.0.1:{process.port}" for service, _ in pairs for process in stack.of(service)]
