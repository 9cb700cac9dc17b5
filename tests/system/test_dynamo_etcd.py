"""Discovery by etcd, on a real etcd: the same histories as by files, encryption, passwords, members that are away."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import shutil
import ssl
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.schedulers.dynamo import DynamoSettings, build
from sinks.schedulers.adapter import Away, Gpu, Refused
from sinks.schedulers.dynamo.etcd import EtcdDiscovery
from sinks.schedulers.dynamo.gateway import Gateway
from sinks.tickets.http_client import Secret
from tests.sinks.schedulers.dynamo.histories import IN_MEMORY, Histories, as_tests
from tests.sinks.schedulers.dynamo.worlds import adapter, card, dying_at, instance_record
from tests.system.dynamo_fleet import etcd

pytestmark = pytest.mark.system

NO_SECRET = Secret(None, "", {})
KEY = "v1/instances/dynamo/backend/generate/{}"
CARD = "v1/mdc/dynamo/backend/generate/{}"
GPU = Gpu("n1", "GPU-1", "")
PORT = 12479


class EtcdWorld:
    """Workers with leases of their own. address: of the etcd, of which everything is deleted first."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._gateway = Gateway([address], "", NO_SECRET, None)
        self.ask("kv/deleterange", key="\0", range_end="\0")

    def ask(self, path: str, **body):
        body = {
            name: encoded(value) if name in ("key", "range_end", "value") else value for name, value in body.items()
        }
        return asyncio.run(REAL_ASK(self._gateway, path, body))

    def close(self) -> None:
        self._gateway.close()

    def discovery(self) -> EtcdDiscovery:
        return EtcdDiscovery([self._address], "", NO_SECRET)

    def new_instance(self, number: int) -> str:
        return f"{int(self.ask('lease/grant', TTL='600')['ID']):016x}"

    def start(self, instance: str, gpus=None) -> None:
        self._put(CARD.format(instance), card(instance, gpus), instance)
        self.register(instance)

    def register(self, instance: str) -> None:
        self._put(KEY.format(instance), instance_record(instance), instance)

    def end(self, instance: str) -> None:
        self.ask("lease/revoke", ID=str(int(instance, 16)))

    def delete(self, instance: str) -> None:
        self.ask("kv/deleterange", key=KEY.format(instance))

    def standing(self) -> dict[str, bytes]:
        found = self.ask("kv/range", key="v1/instances/", range_end="v1/instances0").get("kvs", ())
        return {base64.b64decode(each["key"]).decode(): base64.b64decode(each["value"]) for each in found}

    def serving(self, instance: str) -> bool:
        return self.standing().get(KEY.format(instance)) == instance_record(instance)

    @contextmanager
    def dying(self, after: int):
        """Steps are what is asked of etcd and what is done to disks."""
        with dying_at(after) as step:
            count = step(lambda: None)

            async def ask(gateway, path, body):
                count()
                return await REAL_ASK(gateway, path, body)

            Gateway.ask = ask
            try:
                yield
            finally:
                Gateway.ask = REAL_ASK

    def _put(self, key: str, value: bytes, instance: str) -> None:
        self.ask("kv/put", key=key, value=value, lease=str(int(instance, 16)))


REAL_ASK = Gateway.ask


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.fixture(scope="module", autouse=True)
def address():
    directory = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    with etcd(directory, port=PORT) as made:
        yield made
    shutil.rmtree(directory)


@pytest.fixture
def world(address):
    made = EtcdWorld(address)
    yield made
    made.close()


class EtcdHistories(Histories):
    def make_world(self, directory):
        return EtcdWorld(f"http://127.0.0.1:{PORT}")


TestHistories = as_tests(EtcdHistories, 40)


def settings(tmp_path, *endpoints, **more) -> DynamoSettings:
    return DynamoSettings(endpoints=list(endpoints), state_dir=str(tmp_path / "state"), **more)


def started(world) -> str:
    instance = world.new_instance(0)
    world.start(instance, [GPU.uuid])
    return instance


def test_a_deletion_that_comes_late_misses_what_was_put_back_meanwhile(world):
    instance = started(world)

    async def late():
        discovery = world.discovery()
        (record,) = await discovery.read([KEY.format(instance)])
        await discovery.put_back(record)  # it still stands there
        assert not await discovery.take_out(record)
        await discovery.close()

    asyncio.run(late())
    assert world.serving(instance)


def test_a_record_that_hangs_on_no_worker_is_left_alone(world, tmp_path):
    instance = started(world)
    world.ask("kv/put", key=KEY.format(instance), value=instance_record(instance))
    dynamo = adapter(world, tmp_path / "state")
    with pytest.raises(Refused, match="not on the lease of its worker"):
        asyncio.run(dynamo.drain(instance, ""))
    assert world.serving(instance)
    asyncio.run(dynamo.close())


def test_a_record_that_its_worker_has_written_anew_is_not_replaced_by_the_saved_one(world, tmp_path):
    instance = started(world)
    dynamo = adapter(world, tmp_path / "state")
    asyncio.run(dynamo.drain(instance, ""))
    lease = str(int(instance, 16))
    world.ask("kv/put", key=KEY.format(instance), value=b'{"newer": true}', lease=lease)
    asyncio.run(dynamo.add(instance))
    assert world.standing() == {KEY.format(instance): b'{"newer": true}'}
    world.end(instance)
    assert world.standing() == {}
    asyncio.run(dynamo.close())


def test_a_member_that_is_away_is_passed_over(world, address, tmp_path):
    instance = started(world)
    dynamo = build(settings(tmp_path, "http://127.0.0.1:1", address), {})
    assert asyncio.run(dynamo.units([GPU])) == {GPU: [instance]}
    asyncio.run(dynamo.close())
    alone = build(settings(tmp_path, "http://127.0.0.1:1"), {})
    with pytest.raises(Away, match=r"http://127\.0\.0\.1:1: .*Connection refused"):
        asyncio.run(alone.units([GPU]))
    asyncio.run(alone.close())


def test_cards_that_come_change_and_go_are_seen(world, tmp_path):
    instance = started(world)
    dynamo = adapter(world, tmp_path / "state")
    assert asyncio.run(dynamo.units([GPU]))[GPU] == [instance]
    other = world.new_instance(1)
    world.start(other, [GPU.uuid])
    assert asyncio.run(dynamo.units([GPU]))[GPU] == sorted([instance, other])
    world.start(other, [])
    assert asyncio.run(dynamo.units([GPU]))[GPU] == [instance]
    world.end(instance)
    assert asyncio.run(dynamo.units([GPU]))[GPU] == []
    asyncio.run(dynamo.close())


def test_records_of_another_cluster_are_kept_and_not_put_there(world, tmp_path):
    instance = started(world)
    dynamo = adapter(world, tmp_path / "state")
    asyncio.run(dynamo.drain(instance, ""))
    asyncio.run(dynamo.close())
    with etcd(tmp_path / "other", "--initial-cluster-token", "other", port=PORT + 20) as address:
        elsewhere = build(settings(tmp_path, address), {})
        asyncio.run(elsewhere.add(instance))
        assert asyncio.run(elsewhere.look([instance]))[instance].state == "unknown"
        asyncio.run(elsewhere.close())
    dynamo = adapter(world, tmp_path / "state")
    asyncio.run(dynamo.add(instance))
    assert world.serving(instance)
    asyncio.run(dynamo.close())


@pytest.fixture
def pem(tmp_path):
    """A file with a certificate for 127.0.0.1 that has signed itself, and its key; beside it ca.pem, without."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "a test")])  # no common name: see the page
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    certificate = made.public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "own.pem").write_bytes(certificate + key.private_bytes(serialization.Encoding.PEM, *form))
    return tmp_path / "own.pem"


def test_with_encryption_certificates_and_passwords(pem, tmp_path):
    tls = [f"--cert-file={pem}", f"--key-file={pem}", f"--trusted-ca-file={tmp_path / 'ca.pem'}", "--client-cert-auth"]
    trusted = {"ca_file": str(tmp_path / "ca.pem"), "cert_file": str(pem)}
    named = {"user": "root", "secret_env": "PASSWORD"}
    place = {"scheme": "https", "port": PORT + 20}
    with etcd(tmp_path / "etcd", *tls, **place) as address:
        stranger = build(settings(tmp_path, address), {})
        with pytest.raises(Away, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(stranger.units([GPU]))
        asyncio.run(stranger.close())
        context = ssl.create_default_context(cafile=pem)
        context.load_cert_chain(pem)
        asyncio.run(enable_passwords(Gateway([address], "", NO_SECRET, context)))

        wrong = build(settings(tmp_path, address, **trusted, **named), {"PASSWORD": "wrong"})
        with pytest.raises(Away, match="invalid user ID or password"):
            asyncio.run(wrong.units([GPU]))
        asyncio.run(wrong.close())
        dynamo = build(settings(tmp_path, address, **trusted, **named), {"PASSWORD": "s3cret"})
        assert asyncio.run(dynamo.units([GPU])) == {GPU: []}
    with etcd(tmp_path / "etcd", *tls, **place):  # it has forgotten its tokens
        assert asyncio.run(dynamo.units([GPU])) == {GPU: []}
    asyncio.run(dynamo.close())


async def enable_passwords(gateway) -> None:
    for path, body in (
        ("auth/user/add", {"name": "root", "password": "s3cret"}),
        ("auth/role/add", {"name": "root"}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/enable", {}),
    ):
        await gateway.ask(path, body)
    gateway.close()
