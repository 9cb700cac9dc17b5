from __future__ import annotations

import pytest

from pipeline.errors import UsageProblem
from pipeline.kafka.settings import Kafka
from pipeline.settings import FILE, TABLES, Settings, load, parse_address, parse_duration
from pipeline.spool.settings import AgentSettings


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(tmp_path, text, name=FILE):
    (tmp_path / name).write_text(text, "utf-8")
    return str(tmp_path / name)


def complaint(*args):
    with pytest.raises(UsageProblem) as caught:
        load(*args)
    return str(caught.value)


def test_without_anything_all_is_default():
    assert load(None, {}, {}) == Settings()


def test_flags_outrank_the_environment_that_outranks_the_file(tmp_path):
    write(tmp_path, 'policy = "file"\nlisten = "1"\ndata_dir = "file"\n')
    environment = {"GPU_VITALS_POLICY": "environment", "GPU_VITALS_LISTEN": "2"}
    assert load(None, environment, {"policy": "flag"}) == Settings(policy="flag", listen="2", data_dir="file")


def test_what_a_file_does_not_say_it_does_not_set(tmp_path):
    write(tmp_path, 'cluster = "c1"')
    assert load(None, {"GPU_VITALS_POLICY": "spec"}, {}) == Settings(policy="spec", cluster="c1")


def test_a_named_file_is_read_instead_of_the_usual_one(tmp_path):
    write(tmp_path, 'policy = "usual"')
    other = write(tmp_path, 'policy = "named"', "other.toml")
    assert load(other, {}, {}).policy == "named"


def test_every_setting_can_come_from_the_environment():
    environment = {
        "GPU_VITALS_SOURCES": "kmsg exporter:http://localhost:9400/metrics",
        "GPU_VITALS_POLICY": "spec",
        "GPU_VITALS_DATA_DIR": "/d",
        "GPU_VITALS_FOR_S": "2m",
        "GPU_VITALS_LISTEN": "9108",
        "GPU_VITALS_JSON": "true",
        "GPU_VITALS_RECORD": "r.jsonl",
        "GPU_VITALS_FOLLOW": "true",
        "GPU_VITALS_SPEED": "2.5",
        "GPU_VITALS_CLUSTER": "c1",
        "GPU_VITALS_NODE": "n1",
    }
    named = {name.removeprefix("GPU_VITALS_").lower() for name in environment}
    assert named == set(Settings.__struct_fields__) - TABLES.keys()
    assert load(None, environment, {}) == Settings(
        sources=["kmsg", "exporter:http://localhost:9400/metrics"],
        policy="spec",
        data_dir="/d",
        for_s=120.0,
        listen="9108",
        json=True,
        record="r.jsonl",
        follow=True,
        speed=2.5,
        cluster="c1",
        node="n1",
    )


def test_every_setting_of_kafka_can_come_from_the_environment():
    environment = {
        "GPU_VITALS_KAFKA_BOOTSTRAP": "k1:9092,k2:9092",
        "GPU_VITALS_KAFKA_PREFIX": "fleet-1.",
        "GPU_VITALS_KAFKA_GENERATION": "1",
        "GPU_VITALS_KAFKA_PARTITIONS": "16",
        "GPU_VITALS_KAFKA_REPLICATION": "3",
        "GPU_VITALS_KAFKA_TLS": "true",
        "GPU_VITALS_KAFKA_TLS_CA": "ca.pem",
        "GPU_VITALS_KAFKA_TLS_CERT": "cert.pem",
        "GPU_VITALS_KAFKA_TLS_KEY": "key.pem",
        "GPU_VITALS_KAFKA_SASL": "SCRAM-SHA-512",
        "GPU_VITALS_KAFKA_USER": "agent",
        "GPU_VITALS_KAFKA_PASSWORD_FILE": "password",
        "GPU_VITALS_KAFKA_SESSION_TIMEOUT_S": "6",
    }
    named = {name.removeprefix("GPU_VITALS_KAFKA_").lower() for name in environment}
    assert named == set(Kafka.__struct_fields__)
    assert load(None, environment, {}).kafka == Kafka(
        bootstrap="k1:9092,k2:9092",
        prefix="fleet-1.",
        generation=1,
        partitions=16,
        replication=3,
        tls=True,
        tls_ca="ca.pem",
        tls_cert="cert.pem",
        tls_key="key.pem",
        sasl="SCRAM-SHA-512",
        user="agent",
        password_file="password",
        session_timeout_s=6.0,
    )


def test_what_the_agent_keeps_can_come_from_the_environment_and_the_file(tmp_path):
    write(tmp_path, '[agent]\nspool_dir = "/file"\nspool_bytes = 2000000\n')
    assert load(None, {}, {}).agent == AgentSettings(spool_dir="/file", spool_bytes=2_000_000)
    environment = {"GPU_VITALS_AGENT_SPOOL_DIR": "/env", "GPU_VITALS_AGENT_SPOOL_BYTES": "3000000"}
    assert load(None, environment, {}).agent == AgentSettings(spool_dir="/env", spool_bytes=3_000_000)
    assert complaint(None, {"GPU_VITALS_AGENT_SPOOLDIR": "/d"}, {}) == (
        "GPU_VITALS_AGENT_SPOOLDIR: no such setting\n"
        "  help: a variable with a similar name exists: `GPU_VITALS_AGENT_SPOOL_DIR`"
    )


def test_flags_outrank_the_environment_and_that_the_file_key_by_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_text('[kafka]\nbootstrap = "file:1"\nprefix = "file."\npartitions = 3\n')
    loaded = load(None, {"GPU_VITALS_KAFKA_PREFIX": "env.", "GPU_VITALS_KAFKA_USER": "u"}, {"kafka": {"user": "flag"}})
    assert loaded.kafka == Kafka(bootstrap="file:1", prefix="env.", partitions=3, user="flag")


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_left_alone():
    kubernetes = {
        "GPU_VITALS_PORT": "tcp://10.0.0.1:9108",
        "GPU_VITALS_SERVICE_HOST": "10.0.0.1",
        "GPU_VITALS_SERVICE_PORT": "9108",
        "GPU_VITALS_PORT_9108_TCP": "tcp://10.0.0.1:9108",
        "GPU_VITALS_PORT_9108_TCP_ADDR": "10.0.0.1",
    }
    assert load(None, kubernetes, {}) == Settings()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"GPU_VITALS_POLCY": "spec"},
            "GPU_VITALS_POLCY: no such setting\n  help: a variable with a similar name exists: `GPU_VITALS_POLICY`",
        ),
        ({"GPU_VITALS_JSON": "maybe"}, "GPU_VITALS_JSON: expected true or false, not maybe"),
        ({"GPU_VITALS_SPEED": "fast"}, "GPU_VITALS_SPEED: expected a number, not fast"),
        (
            {"GPU_VITALS_FOR_S": "1 week"},
            "not a duration: 1 week\n  help: a number and ms, s, m, h or d, as in 60s",
        ),
    ],
)
def test_an_error_in_the_environment_names_the_variable(environment, expected):
    assert complaint(None, environment, {}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '\npolcy = "spec"',
            f"{FILE}: line 2: polcy: unknown key\n"
            "  help: a key with a similar name exists: `policy` (default 'default')",
        ),
        ("sources = 3", f"{FILE}: line 1: sources: expected list, got whole number"),
        ("for_s = -1", f"{FILE}: line 1: for_s: expected number > 0.0\n  help: `for_s`: seconds"),
        ("speed = nan", f"{FILE}: line 1: speed: expected number > 0.0"),
        ("speed = inf", f"{FILE}: line 1: speed: expected number <= 1000000000.0"),
    ],
)
def test_an_error_in_the_file_names_line_and_key(tmp_path, text, expected):
    write(tmp_path, text)
    assert complaint(None, {}, {}) == expected


def test_a_named_file_that_is_not_there_is_an_error():
    assert complaint("nothing.toml", {}, {}) == "nothing.toml: no such file"


def test_a_file_that_is_not_text_is_an_error(tmp_path):
    (tmp_path / FILE).write_bytes(b"a = '\xff'")
    assert complaint(None, {}, {}) == f"{FILE}: not UTF-8 at byte 5"


def test_a_flag_out_of_range_is_an_error():
    assert complaint(None, {}, {"speed": 0.0}) == "speed: expected number > 0.0"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), ("500ms", 0.5), ("2m", 120), ("1d", 86400)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1e3", "inf", "1w"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageProblem, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9108", ("127.0.0.1", 9108)),
        (":9108", ("127.0.0.1", 9108)),
        ("0.0.0.0:9108", ("0.0.0.0", 9108)),
        ("[::1]:0", ("::1", 0)),
        ("host.example:1", ("host.example", 1)),
    ],
)
def test_addresses_are_loopback_unless_a_host_is_named(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "1:2:x", "65536", "-1", "9108/metrics"])
def test_what_is_no_address(text):
    with pytest.raises(UsageProblem, match="not an address"):
        parse_address(text)
