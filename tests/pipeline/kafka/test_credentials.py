"""Certificates and passwords that change on disk: used from the next connection on."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import UsageProblem
from pipeline.kafka import credentials
from pipeline.kafka.credentials import LOOK_S, SPREAD_S, Credentials
from pipeline.kafka.settings import Kafka


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("one")
    return path


def watched(file: Path) -> tuple[Credentials, Clock]:
    clock = Clock()
    return Credentials(Kafka(password_file=str(file)), clock), clock


def passed(found: Credentials, clock: Clock, seconds: float) -> bool:
    """Whether it has told of a change `seconds` later, asked at every tenth of one."""
    for _ in range(int(10 * seconds)):
        clock.now += 0.1
        if found.changed():
            return True
    return False


def test_files_that_stay_as_they_are_need_no_new_connection(file: Path) -> None:
    found, clock = watched(file)
    assert not passed(found, clock, 1_000)


@pytest.mark.parametrize("how", ["written", "replaced", "removed"])
def test_a_change_is_taken_within_a_minute(file: Path, how: str) -> None:
    found, clock = watched(file)
    if how == "written":
        file.write_text("another")
    elif how == "replaced":
        (other := file.with_suffix(".new")).write_text("two")
        os.replace(other, file)
    else:
        file.unlink()
    assert passed(found, clock, LOOK_S + SPREAD_S + 1)


def test_a_fleet_does_not_take_it_at_one_moment(tmp_path: Path) -> None:
    moments = set()
    for number in range(50):
        path = tmp_path / str(number)
        path.write_text("one")
        found, clock = watched(path)
        path.write_text("another")
        assert passed(found, clock, 100)
        moments.add(int(clock.now))
    assert len(moments) > 20


def test_without_files_there_is_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_state", None)
    clock = Clock()
    assert not passed(Credentials(Kafka(), clock), clock, 100)


def test_each_connection_is_made_with_what_is_in_the_files_then(tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    kafka = Kafka(
        tls_ca=str(tmp_path / "cert.pem"), tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / "key.pem")
    )
    assert trusted(kafka) == ["first"]
    certificate(tmp_path, "second")
    assert trusted(kafka) == ["second"]
    (tmp_path / "key.pem").write_text("half of i")
    with pytest.raises(UsageProblem, match=r"kafka: cannot use .*key\.pem"):
        kafka.client()


def certificate(directory: Path, name: str) -> None:
    options = ["-nodes", "-days", "1", "-subj", f"/CN={name}", "-keyout", "key.pem", "-out", "cert.pem"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *options]
    subprocess.run(made, cwd=directory, check=True, capture_output=True)


def trusted(kafka: Kafka) -> list[str]:
    context: ssl.SSLContext = kafka.client()["ssl_context"]
    return [
        dict(pair for group in found["subject"] for pair in group)["commonName"] for found in context.get_ca_certs()
    ]
