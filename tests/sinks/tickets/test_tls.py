"""Whom we believe to be the ticket system: whoever shows a certificate of an authority that we trust."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.tracker import Later
from tests.sinks.tickets.servers import Server


@pytest.fixture
def certificate(tmp_path):
    """A file with a certificate for 127.0.0.1 that has signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "own.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture
def server(certificate):
    made = Server(certificate)
    yield made
    made.close()


def test_a_certificate_that_nobody_vouches_for_gets_no_secret(server, certificate):
    secret = Secret(None, "S", {"S": "s3cret"})
    with pytest.raises(Later, match="CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(HttpClient(server.url, secret).call("GET", "/"))
    assert server.asked == []
    asyncio.run(HttpClient(server.url, secret, ca_file=certificate).call("GET", "/"))
    assert server.said() == ["GET /"]


def test_a_file_that_holds_no_certificate_is_refused(tmp_path):
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ssl.SSLError):
        HttpClient("https://127.0.0.1", Secret(None, "", {}), ca_file=tmp_path / "empty.pem")
