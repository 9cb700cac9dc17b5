"""How to reach Kafka, and what our things are called there: the table `[kafka]` of the settings file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from pipeline.errors import UsageProblem
from schemas.topics import PREFIX

if TYPE_CHECKING:
    import ssl

CLIENT_ID = "gpu-vitals"
SERVER = re.compile(r"([\w.-]+|\[[\w:.%]+\])(:(?P<port>\d{1,5}))?", re.ASCII)
PORT_MAX = 65535


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """bootstrap: HOST:PORT of one or more brokers, comma-separated.

    prefix: of all topics, groups and transactional ids; one a fleet. generation: raised when topics were deleted
    and made anew, so that readers do not take the new records for old ones.
    partitions: of the observations (and the checkpoints); about 6,000 GPUs each. replication: copies of each
    partition; 3 in production.
    tls: encrypt; on by itself where a certificate is named. tls_ca: file that the brokers' certificates are
    checked against (default: the machine's). tls_cert, tls_key: files of our own certificate.
    sasl: mechanism; user: with it. password_file: a file that holds the password, so that no listing shows it.
    session_timeout_s: silence after which a worker's partitions go to others.
    """

    bootstrap: str = "127.0.0.1:9092"
    prefix: str = PREFIX
    generation: Annotated[int, msgspec.Meta(ge=0)] = 0
    partitions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8
    replication: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    tls: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    user: str | None = None
    password_file: str | None = None
    session_timeout_s: Annotated[float, msgspec.Meta(ge=1.0, le=300.0)] = 10.0

    def topic(self, name: str) -> str:
        """The topic's name on the broker."""
        return self.prefix + name

    def group(self, reader: str) -> str:
        """The consumer group of a stage or a sink; a new generation begins anew."""
        return self.prefix + reader + (f".g{self.generation}" if self.generation else "")

    def client(self) -> dict[str, Any]:
        """What every aiokafka client is told. Raises UsageProblem: no addresses, or a file that cannot be read."""
        for server in self.bootstrap.split(","):
            found = SERVER.fullmatch(server.strip())
            if not found or int(found["port"] or 0) > PORT_MAX:
                what = f"kafka.bootstrap: {server!r} is no address of a broker"
                raise UsageProblem(what, "HOST:PORT, comma-separated")
        encrypted = self.tls or bool(self.tls_ca or self.tls_cert)
        protocol = ("SASL_" if self.sasl else "") + ("SSL" if encrypted else "PLAINTEXT")
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": CLIENT_ID,
            "security_protocol": protocol,
        }
        if encrypted:
            options["ssl_context"] = self._certificates()
        if self.sasl:
            options |= {
                "sasl_mechanism": self.sasl,
                "sasl_plain_username": self.user or "",
                "sasl_plain_password": self._password(),
            }
        return options

    def _certificates(self) -> ssl.SSLContext:
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_cert:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(name for name in (self.tls_ca, self.tls_cert, self.tls_key) if name)
            raise UsageProblem(f"kafka: cannot use {files}: {error}", "tls_ca, tls_cert and tls_key are PEM") from None
        return context

    def _password(self) -> str:
        if not self.password_file:
            raise UsageProblem("kafka.password_file: missing", "sasl needs a user and a file that holds its password")
        try:
            return Path(self.password_file).read_text("utf-8").strip()
        except OSError as error:
            raise UsageProblem(f"kafka.password_file: {self.password_file}: {error.strerror}") from None
