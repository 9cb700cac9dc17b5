"""What compose/ promises at the top of its files: pinned, limited, sealed, watched, and reachable by nobody else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from pipeline import settings
from scripts import kafka_broker
from tests.compose.stack import COMPOSE, dockerfile

ROOT = COMPOSE.parent
PROJECT = yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8"))
SERVICES = PROJECT["services"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((COMPOSE / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
OURS = {name for name, each in SERVICES.items() if each["image"].startswith("gpu-vitals:")}
ENDS = {"topics"}
ACT = {"commander-sink", "scheduler-sink"}
LAYS_OUT_ITS_ROOT = {"kafka"}  # and runs as the user that its image names

every_service = pytest.mark.parametrize("name", SERVICES)


@every_service
def test_every_image_is_pinned_to_a_version(name):
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_versions_are_those_that_are_tested():
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka_broker.KAFKA}"
    assert {SERVICES[name]["image"] for name in OURS} == {f"gpu-vitals:{PYPROJECT['project']['version']}"}


@every_service
def test_nothing_is_published_beyond_this_machine(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert SERVICES[name].get("network_mode") is None


@every_service
def test_every_service_is_limited_and_sealed(name):
    service = SERVICES[name]
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name not in LAYS_OUT_ITS_ROOT:
        assert service["read_only"]
        assert int(service["user"].partition(":")[0]) > 0


@every_service
def test_what_stays_is_checked_and_comes_back(name):
    service = SERVICES[name]
    if name in ENDS:
        assert service["restart"] == "on-failure:5"
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(OURS - ENDS))
def test_our_processes_wait_for_a_broker_that_answers_and_for_the_topics(name):
    conditions = {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()}
    assert conditions == {"kafka": "service_healthy", "topics": "service_completed_successfully"}


def test_what_is_written_lies_in_named_volumes():
    mounted = {
        volume for each in SERVICES.values() for volume in each.get("volumes", []) if not volume.startswith("./")
    }
    assert {each.partition(":")[0] for each in mounted} == PROJECT["volumes"].keys()
    kafka = SERVICES["kafka"]
    assert f"kafka:{kafka['environment']['KAFKA_LOG_DIRS']}" in kafka["volumes"]
    for each in SERVICES.values():
        for volume in each.get("volumes", []):
            if volume.startswith("./"):
                source, _, mode = volume.split(":")
                assert mode == "ro"
                assert (COMPOSE / source).is_dir()


def test_nothing_acts_until_an_operator_says_so():
    """The commander is a dry run then; the scheduler sink, which could not start, is left out."""
    shipped = settings.load(str(COMPOSE / "gpu-vitals.toml"), {}, {})
    assert not shipped.commander.enabled
    assert not shipped.scheduler.enabled
    assert shipped.scheduler.to is None
    assert {name: SERVICES[name].get("profiles") for name in ACT} == {"commander-sink": None, "scheduler-sink": ["act"]}
    assert not any("environment" in SERVICES[name] for name in OURS)


def test_each_sink_that_acts_reads_its_own_secrets_and_git_takes_none():
    mounted = {volume for each in SERVICES.values() for volume in each.get("volumes", []) if "/secrets" in volume}
    assert mounted == {f"./secrets/{sink}:/etc/gpu-vitals/secrets:ro" for sink in ("commander", "scheduler")}
    for volume in mounted:
        ignored = (COMPOSE / volume.partition(":")[0] / ".gitignore").read_text("utf-8")
        assert ignored.split() == ["*", "!.gitignore"]
    assert {name for name in SERVICES if mounted & set(SERVICES[name].get("volumes", []))} == ACT


def test_what_is_out_of_dynamo_is_kept_where_the_image_lets_its_user_write():
    place, user = settings.load(None, {}, {}).dynamo.state_dir, SERVICES["scheduler-sink"]["user"].partition(":")[0]
    assert f"scheduler:{place}" in SERVICES["scheduler-sink"]["volumes"]
    [made] = re.findall(r"^ +&& install --directory (.+)$", dockerfile().rpartition("FROM ")[2], re.MULTILINE)
    assert made.split() == [f"--owner={user}", f"--group={user}", "--mode=0700", place]


def test_prometheus_finds_every_process_that_stays_where_it_listens():
    jobs = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    asked = [(name, each["port"]) for job in jobs for each in job.get("dns_sd_configs", []) for name in each["names"]]
    for job in jobs:
        for each in job.get("static_configs", []):
            asked += [(name, int(port)) for name, port in (target.split(":") for target in each["targets"])]
    listening = {
        (name, int(word.rpartition(":")[2]))
        for name in OURS - ENDS
        for word in SERVICES[name]["command"]
        if word.startswith("0.0.0.0:")
    }
    assert sorted(asked) == sorted({*listening, ("127.0.0.1", 9090)})


def test_a_service_behind_a_profile_is_not_missed_where_that_is_off():
    """Who is named as a static target and is not there has `up` 0, which is an alert."""
    jobs = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    named = {t.partition(":")[0] for job in jobs for each in job.get("static_configs", []) for t in each["targets"]}
    assert not named & {name for name, each in SERVICES.items() if "profiles" in each}


def test_who_watches_does_not_reach_the_broker():
    for name in ("prometheus", "alertmanager", "grafana"):
        assert "log" not in SERVICES[name]["networks"]
    assert SERVICES["kafka"]["networks"] == ["log"]


def test_the_settings_file_is_sound_and_meant_for_this_broker():
    kafka = settings.load(str(COMPOSE / "gpu-vitals.toml"), {}, {}).kafka
    assert f"INSIDE://{kafka.bootstrap}," in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert kafka.replication == 1


def test_the_image_ends_with_what_is_needed_and_a_user_without_rights():
    last = dockerfile().rpartition("FROM ")[2]
    [user] = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert {SERVICES[name]["user"] for name in OURS} == {user}
    assert re.findall(r"^COPY (.+)$", last, re.MULTILINE) == ["--from=build /opt/gpu-vitals /opt/gpu-vitals"]
    assert re.findall(r"^ARG PYTHON=python:3\.\d+\.\d+-slim-\w+$", dockerfile(), re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)) == {"${PYTHON}"}


def test_the_context_of_the_image_holds_what_it_copies_and_nothing_else():
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert copied >= {*PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "constraints.txt"}
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule['alert']}-{rule['labels']['severity']}" for rule in RULES])
def test_every_alert_says_who_is_needed_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    path, _, section = rule["annotations"]["runbook"].partition("#")
    assert section == rule["alert"].lower()
    assert re.search(rf"^## {rule['alert']}$", (ROOT / path).read_text("utf-8"), re.MULTILINE)


def test_the_runbook_has_a_section_for_each_alert_and_names_its_severity():
    text = (ROOT / "docs" / "kafka" / "runbook.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (GpuVitals\w+)\n\n(.+)", text, re.MULTILINE))
    severities: dict[str, set[str]] = {}
    for rule in RULES:
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert {name: set(re.findall(r"\*\*(page|ticket)\*\*", said)) for name, said in sections.items()} == severities


def test_alerts_that_silence_others_and_those_silenced_exist():
    config = yaml.safe_load((COMPOSE / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    names = {rule["alert"] for rule in RULES}
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            pattern = matcher.partition('"')[2].rstrip('"')
            assert any(re.fullmatch(pattern, name) for name in names), matcher
            for each in re.findall(r"\(([\w|]+)\)", pattern):
                assert {f"{pattern.partition('(')[0]}{end}" for end in each.split("|")} <= names


def test_the_dashboard_that_is_shown_first_exists():
    shown = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (COMPOSE / "grafana" / "dashboards" / shown.name).exists()
