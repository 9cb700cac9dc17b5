"""The alert rules on promtool's simulated clock: what fires, when, and what must not. And where it is sent."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

COMPOSE = Path(__file__).parents[2] / "compose"
ALERTS = COMPOSE / "prometheus" / "alerts.yml"

INTERVAL_S = 15
HOUR = 3600 // INTERVAL_S  # in every story something changes after one hour; it ends after three
NODE_0 = '{job="gpu-vitals-worker", instance="w1", stage="node", partition="0"}'
NODE_1 = '{job="gpu-vitals-worker", instance="w2", stage="node", partition="1"}'
MOVED_1 = NODE_1.replace("w2", "w1")
CLUSTER = '{job="gpu-vitals-worker", instance="c1", stage="cluster", partition="0"}'
PARTITIONS = (NODE_0, NODE_1, CLUSTER)
WORKER_1, WORKER_2, WORKER_C = (re.sub(", partition=.*", "}", each) for each in PARTITIONS)
WORKERS = (WORKER_1, WORKER_2, WORKER_C)
METRICS, DECISIONS = (f'{{job="gpu-vitals-sink", instance="s", sink="{sink}"}}' for sink in ("metrics", "decisions"))
SINKS = (METRICS, DECISIONS)
AGENT = '{job="gpu-vitals-agent", instance="a1"}'
TIMES = tuple(f"gpu_vitals_stage_{what}_timestamp_seconds" for what in ("last_commit", "watermark", "checkpoint"))
COMMITS = 'gpu_vitals_stage_commit_seconds_bucket{stage="node", le="%s"}'
UNKNOWN, FAILED, FINE = (f'gpu_vitals_gpus{{condition="{each}"}}' for each in ("unknown", "failed", "healthy"))
TICKETS = '{job="gpu-vitals-sink", instance="t", sink="tickets"%s}'
UNSENT = "gpu_vitals_ticket_oldest_unsent_seconds" + TICKETS % ""
REFUSED = "gpu_vitals_tickets" + TICKETS % ', state="refused"'
TO_CHECK = "gpu_vitals_tickets_outputs_to_check" + TICKETS % ""
ORDERS = 'gpu_vitals_case_orders{action="reset"}'
HELD = 'gpu_vitals_storm_hold{cluster="c"}'
CORRUPT = 'gpu_vitals_revalidations{state="corrupt"}'
FOR_PEOPLE = "gpu_vitals_case_for_people_oldest_timestamp_seconds"
OLDEST_OPEN = "gpu_vitals_revalidation_oldest_open_timestamp_seconds"
COMMANDER, SCHEDULER = (METRICS.replace('"metrics"', f'"{sink}"') for sink in ("commander", "scheduler"))
FAILS_MORE = "10x240 11x480"
ON_AND_ON = f"0+15x{3 * HOUR}"
STOPS = "0+15x240 3600x480"  # a time stamp that stays where it is
ENDS, ENDS_UP = "0+15x240 stale", "1x240 stale"
SECOND = SCHEDULER.replace('"s"', '"t"')


def cases(step):
    return f'gpu_vitals_cases{{step="{step}"}}'


def oldest(step):
    return f'gpu_vitals_case_oldest_timestamp_seconds{{step="{step}"}}'


def deadline(step):
    return f'gpu_vitals_case_deadline_timestamp_seconds{{step="{step}"}}'


def constant(value):
    return f"{value}x{3 * HOUR}"


HEALTHY = {
    **{name + at: ON_AND_ON for name in TIMES for at in PARTITIONS},
    **{f"gpu_vitals_stage_lag_records{at}": constant(5) for at in PARTITIONS},
    **{f"gpu_vitals_worker_partitions{at}": constant(1) for at in WORKERS},
    **{f"gpu_vitals_worker_rebalances_total{at}": constant(2) for at in WORKERS},
    **{f"gpu_vitals_stage_fenced_total{at}": constant(0) for at in WORKERS},
    **{f"gpu_vitals_log_unavailable{at}": constant(0) for at in (*WORKERS, *SINKS, AGENT)},
    **{f"up{at}": constant(1) for at in SINKS},
    **{f"gpu_vitals_sink_lag_seconds{at}": constant(0) for at in SINKS},
    **{f"gpu_vitals_sink_retries_total{at}": constant(0) for at in SINKS},
    **{COMMITS % le: ON_AND_ON for le in ("0.05", "5", "+Inf")},
    UNSENT: constant(0),
    REFUSED: constant(0),
    TO_CHECK: constant(0),
    **{cases(step): constant(1) for step in ("draining", "drained", "removing", "resetting", "rma")},
    ORDERS: constant(1),
    **{f"up{at}": constant(1) for at in (COMMANDER, SCHEDULER)},
    HELD: constant(0),
    CORRUPT: constant(2),
    "gpu_vitals_spool_lost_total" + AGENT: constant(3),
    "gpu_vitals_spool_in_memory" + AGENT: constant(0),
    "gpu_vitals_dead_letters_total": constant(7),
    "gpu_vitals_decisions_total": constant(1000),
    FINE: constant(990),
    FAILED: constant(10),
    UNKNOWN: constant(0),
    "gpu_vitals_source_up" + METRICS: constant(1),
}
WORKER_2_DIES = {
    **{name + NODE_1: ENDS for name in TIMES},
    f"gpu_vitals_stage_lag_records{NODE_1}": "5x240 stale",
    f"gpu_vitals_worker_partitions{WORKER_2}": "1x240 stale",
}
WORKER_1_TAKES_OVER = {
    **{name + MOVED_1: f"_x241 3615+15x{2 * HOUR}" for name in TIMES},
    f"gpu_vitals_worker_partitions{WORKER_1}": "1x240 2x480",
}
SINK_STARTS_ANEW = {  # and counts again what the log holds
    "gpu_vitals_dead_letters_total": "7x240 0 2 4 7x480",
    "gpu_vitals_decisions_total": "1000x240 0 400 800 1000x480",
    CORRUPT: "2x240 0 1 2x480",
    FAILED: "10x240 0 3 7 10x480",
}

NOTHING_CHANGES = {cases(step): constant(0) for step in ("draining", "removing")}

STORIES = [  # what is otherwise than in HEALTHY, so many minutes after it began: what fires
    ("all is well", {}, 0, ""),
    ("all stays well", {}, 119, ""),
    ("Kafka restarts", {f"gpu_vitals_log_unavailable{WORKER_1}": "0x240 1x4 0x480"}, 3, ""),
    ("Kafka is away", {f"gpu_vitals_log_unavailable{WORKER_1}": "0x240 1x480"}, 3, "LogUnavailable page"),
    ("a sink gets no answer", {f"gpu_vitals_log_unavailable{METRICS}": "0x240 1x480"}, 3, "LogUnavailable page"),
    ("an agent is cut off", {f"gpu_vitals_log_unavailable{AGENT}": "0x240 1x480"}, 20, ""),
    ("it stays so", {f"gpu_vitals_log_unavailable{AGENT}": "0x240 1x480"}, 31, "AgentsCannotSend ticket"),
    (
        "the cluster stage is gone",
        {f"gpu_vitals_worker_partitions{WORKER_C}": "1x240 stale"},
        2,
        "StageDown page cluster",
    ),
    (
        "no worker has ever come",
        {f"gpu_vitals_worker_partitions{each}": constant(0) for each in (WORKER_1, WORKER_2)},
        0,
        "StageDown page node",
    ),
    ("a worker hands over", {**WORKER_2_DIES, **WORKER_1_TAKES_OVER}, 10, ""),
    ("it does not come back", {**WORKER_2_DIES, **WORKER_1_TAKES_OVER}, 31, "WorkerLost ticket node"),
    ("nobody takes over", WORKER_2_DIES, 2, "NoCommit page node"),
    ("a partition hangs", {TIMES[0] + NODE_1: STOPS}, 1, ""),
    ("it goes on hanging", {TIMES[0] + NODE_1: STOPS}, 2, "NoCommit page node"),
    (
        "records come faster than they are worked off",
        {TIMES[1] + NODE_1: "0+15x240 3600+5x480", f"gpu_vitals_stage_lag_records{NODE_1}": "5x240 5+100x480"},
        8,
        "FallingBehind page node",
    ),
    (
        "a backlog shrinks",
        {TIMES[1] + NODE_1: "0+15x240 0+30x480", f"gpu_vitals_stage_lag_records{NODE_1}": "5x240 100000-100x480"},
        20,
        "",
    ),
    ("commits take seconds", {COMMITS % "0.05": STOPS}, 40, "CommitSlow ticket node"),
    ("no checkpoint is written", {TIMES[2] + CLUSTER: STOPS}, 21, "CheckpointOld ticket cluster"),
    (
        "partitions wander",
        {f"gpu_vitals_worker_rebalances_total{WORKER_1}": "2x240 2+1x480"},
        40,
        "Restless ticket node",
    ),
    (
        "owners shut each other out",
        {f"gpu_vitals_stage_fenced_total{WORKER_1}": "0x240 0+1x480"},
        40,
        "Restless ticket node",
    ),
    ("a GPU fails, which is decided", {FAILED: FAILS_MORE, "gpu_vitals_decisions_total": "1000x242 1001x480"}, 3, ""),
    ("a GPU fails, and nothing is decided", {FAILED: FAILS_MORE}, 3, "DecisionsMissing page"),
    ("nobody answers schedulers", {f"up{DECISIONS}": "1x240 0x480"}, 3, "SinkDown page decisions"),
    ("the metrics sink is gone", {f"up{METRICS}": "1x240 0x480"}, 3, ""),
    ("it stays away", {f"up{METRICS}": "1x240 0x480"}, 16, "SinkDown ticket metrics"),
    (
        "schedulers are told old weights",
        {f"gpu_vitals_sink_lag_seconds{DECISIONS}": "0x240 0+15x480"},
        7,
        "SinkBehind page decisions",
    ),
    (
        "the metrics sink is slow",
        {f"gpu_vitals_sink_lag_seconds{METRICS}": "0x240 0+15x480"},
        31,
        "SinkBehind ticket metrics",
    ),
    (
        "a webhook does not answer",
        {f"gpu_vitals_sink_retries_total{METRICS}": "0x240 0+1x480"},
        60,
        "SinkRetrying ticket metrics",
    ),
    ("the ticket system is away", {UNSENT: "0x240 0+15x480"}, 14, ""),
    ("it stays so for a quarter of an hour", {UNSENT: "0x240 0+15x480"}, 17, "TicketsUnsent ticket"),
    ("a ticket is refused", {REFUSED: "0x240 1x480"}, 16, "TicketsRefused ticket"),
    ("outputs are to be checked", {TO_CHECK: "0x240 1x480"}, 59, ""),
    ("nobody has checked them", {TO_CHECK: "0x240 1x480"}, 61, "OutputsToCheck ticket"),
    ("a storm is held back", {HELD: "0x240 1x480"}, 1, "StormHold page"),
    ("it ended half an hour ago", {HELD: "0x240 1x20 0x480"}, 35, "StormHold page"),
    ("it ended long ago", {HELD: "0x240 1x20 0x480"}, 70, ""),
    ("the commander restarts", {f"up{COMMANDER}": "1x240 0x20 1x480"}, 4, ""),
    ("the commander is away while nothing is ordered", {f"up{COMMANDER}": "1x240 0x480", ORDERS: constant(0)}, 14, ""),
    ("orders wait for it", {f"up{COMMANDER}": "1x240 0x480"}, 11, "OrdersWait ticket commander"),
    ("there is none for what is ordered", {f"up{COMMANDER}": "stale"}, 0, "OrdersWait ticket commander"),
    ("GPUs are to be drained, and nobody does", {f"up{SCHEDULER}": "1x240 0x480"}, 3, "OrdersWait page scheduler"),
    ("it has gone, and its address with it", {f"up{SCHEDULER}": ENDS_UP}, 3, "OrdersWait page scheduler"),
    ("one of two has gone", {f"up{SCHEDULER}": ENDS_UP, f"up{SECOND}": constant(1)}, 60, ""),
    ("there never was one", {f"up{SCHEDULER}": "stale"}, 60, ""),
    ("the scheduler sink is away while nothing changes", {f"up{SCHEDULER}": "1x240 0x480", **NOTHING_CHANGES}, 14, ""),
    ("it stays so", {f"up{SCHEDULER}": "1x240 0x480", **NOTHING_CHANGES}, 17, "SinkDown ticket scheduler"),
    ("it has gone meanwhile", {f"up{SCHEDULER}": ENDS_UP, **NOTHING_CHANGES}, 17, "SinkDown ticket scheduler"),
    ("a step takes its time", {deadline("resetting"): "_x240 3700x480"}, 11, ""),
    ("it should have ended long ago", {deadline("resetting"): "_x240 3700x480"}, 18, "CaseStuck ticket"),
    ("a case has drained for a day", {oldest("draining"): "_x240 -82000x480"}, 19, "CaseStuck ticket"),
    ("one waits for its budget", {oldest("drained"): "_x240 -82000x480"}, 60, ""),
    ("a GPU is to be replaced", {FOR_PEOPLE: "_x240 3600x480"}, 60, ""),
    ("nobody has come for a day", {FOR_PEOPLE: "_x240 -82000x480"}, 19, "GpusWaitForPeople ticket"),
    ("outputs may be wrong", {OLDEST_OPEN: "_x240 3600x480"}, 110, ""),
    ("nobody has looked for hours", {OLDEST_OPEN: "_x240 -9000x480"}, 40, "RevalidationUnanswered ticket"),
    ("somebody has looked", {OLDEST_OPEN: "_x240 -9000x120 stale"}, 40, ""),
    ("outputs were wrong", {CORRUPT: "2x240 3x480"}, 1, "CorruptionFound page"),
    ("the first ever were", {CORRUPT: "0x240 1x480"}, 1, "CorruptionFound page"),
    ("they were yesterday", {CORRUPT: "2x240 3x480"}, 100, ""),
    ("an agent drops telemetry", {"gpu_vitals_spool_lost_total" + AGENT: "3x240 9x480"}, 1, "SpoolLost ticket"),
    ("it did so yesterday", {"gpu_vitals_spool_lost_total" + AGENT: "3x240 9x480"}, 90, ""),
    ("a spool's disk fails for a moment", {"gpu_vitals_spool_in_memory" + AGENT: "0x240 1x20 0x480"}, 10, ""),
    ("it stays broken", {"gpu_vitals_spool_in_memory" + AGENT: "0x240 1x480"}, 16, "SpoolInMemory ticket"),
    ("a dead letter", {"gpu_vitals_dead_letters_total": "7x240 8x480"}, 1, "DeadLetters ticket"),
    ("the first dead letter ever", {"gpu_vitals_dead_letters_total": "0x240 1x480"}, 1, "DeadLetters ticket"),
    ("a dead letter of yesterday", {"gpu_vitals_dead_letters_total": "7x240 8x480"}, 90, ""),
    ("the metrics sink starts anew", SINK_STARTS_ANEW, 2, ""),
    ("it has started anew", SINK_STARTS_ANEW, 20, ""),
    ("some are unknown", {UNKNOWN: "0x240 20x480"}, 30, ""),
    ("many are unknown", {UNKNOWN: "0x240 100x480"}, 6, "ManyUnknown page"),
    ("an exporter is away", {"gpu_vitals_source_up" + METRICS: "1x240 0x480"}, 31, "SourcesFailing ticket"),
]


@pytest.mark.parametrize(
    ("differently", "minutes", "expected"), [each[1:] for each in STORIES], ids=[s[0] for s in STORIES]
)
def test_what_fires(tmp_path, differently, minutes, expected):
    assert findings(tmp_path, HEALTHY | differently, 60 + minutes, expected) == ""


def findings(tmp_path, series, minutes, expected):
    """What promtool has to say against it; "" = just that fires. expected: `NAME SEVERITY [STAGE OR SINK]`."""
    query = 'label_join(ALERTS{alertstate="firing"}, "of", "", "stage", "sink")'
    samples = []
    if expected:
        name, severity, *of = expected.split()
        labels = {"alertname": f"GpuVitals{name}", "severity": severity, **({"of": of[0]} if of else {})}
        samples = [{"labels": "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}", "value": 1}]
    return complaints(tmp_path, series, [(f"count by (alertname, severity, of) ({query})", minutes, samples)])


def complaints(tmp_path, series, checks):
    """checks: expression, minute, and the samples that it shall have then. "" = it has them."""
    checks = [{"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples} for expr, minute, samples in checks]
    story = {
        "interval": f"{INTERVAL_S}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": checks,
    }
    file = tmp_path / "story.json"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": [story]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_a_storm_of_three_hundred_gpus_that_comes_and_goes_is_one_alert(tmp_path):
    """In the fleet of 1,000 GPUs: all that it costs of the three alerts a day, by Prometheus's own count."""
    storm = {
        HELD: "0x240 1x40 0x40 1x40 0x100 1x100 0x480",  # never an hour of quiet in between
        FAILED: "10x240 300x480",
        FINE: "990x240 700x480",
        "gpu_vitals_decisions_total": "1000x240 1300+2x480",
        cases("drained"): "1x240 20x480",
        cases("draining"): "1x240 9x480",
        'gpu_vitals_cases_waiting{kind="storm"}': "0x240 20x480",
        ORDERS: "1x240 20x480",
        oldest("drained"): "_x240 3600x480",
    }
    own = 'ALERTS{alertname="GpuVitalsStormHold", alertstate="firing"}'
    alerts, unbroken = 'count(count_over_time(ALERTS{alertstate="firing"}[3h]))', f"(count({own}) or vector(0))"
    one = [{"labels": "{}", "value": 1}]
    checks = [(alerts, 180, one), (f"min_over_time({unbroken}[100m:15s])", 165, one)]
    assert complaints(tmp_path, HEALTHY | storm, checks) == ""


def test_every_alert_has_a_story_in_which_it_fires():
    told = {f"GpuVitals{each[3].split()[0]}" for each in STORIES if each[3]}
    assert told == set(re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8")))


def test_prometheus_takes_its_configuration_and_the_rules():
    judged("promtool", "check", "config", str(COMPOSE / "prometheus" / "prometheus.yml"))


def test_alertmanager_takes_its_configuration_and_tells_pages_from_tickets():
    config = str(COMPOSE / "alertmanager" / "alertmanager.yml")
    judged("amtool", "check-config", config)
    for severity in ("page", "ticket"):
        labels = ("alertname=GpuVitalsSinkDown", f"severity={severity}")
        assert judged("amtool", "config", "routes", "test", f"--config.file={config}", *labels).split() == [severity]


def judged(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
