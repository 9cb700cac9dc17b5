"""The printed commands, run on a broker that lets nobody in without a name: each role can do its work, and no other."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from pipeline.clock import wall_ms
from pipeline.command_inbox import CommandInbox
from pipeline.commander.outbox import KafkaOutbox
from pipeline.errors import UsageProblem
from pipeline.kafka import acls, agent_check, credentials, hearing, rechecking, topics, words
from pipeline.kafka.follow import KafkaFollower
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topic_check import check
from pipeline.log import Entry, Unavailable
from pipeline.node_commands import issuing
from pipeline.node_commands.keys import PrivateKey
from pipeline.operators.outcome import Outcome, Trace
from pipeline.schedulers.reports import KafkaReports
from pipeline.worker import Worker
from processors.cluster import ClusterTask
from schemas import records
from schemas.fencing import Refusal
from schemas.log import Checkpoint, Output, Part
from scripts.kafka_broker import HOST, Broker, free_port, java, tool
from sinks.commander.sink import CommanderSink
from sinks.metrics import MetricsSink
from tests.sinks.commander.cases import eviction, order

# Whoever comes first waits for a broker, and for some thirty of Kafka's own tools, each of which is a Java.
pytestmark = pytest.mark.timeout(1800)

USERS = ("admin", "nobody", *acls.ROLES)
STORE_PASSWORD = "certificates"
SASL = "org.apache.kafka.common.security.plain.PlainLoginModule required"


class Guarded:
    """A broker with names, passwords and certificates, and the topics; the roles have what was printed for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for user in USERS:
            (directory / f"{user}.password").write_text(password(user) + "\n")
        self._tls_port, controller, plain = free_port(), free_port(), free_port()
        self.broker = Broker(directory / "broker", plain, self._settings(plain, controller))
        self.tools = directory / "admin.properties"
        login = f'{SASL} username="admin" password="{password("admin")}";'
        self.tools.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={login}\n")

    def settings(self, user: str) -> Kafka:
        return Kafka(
            bootstrap=self.broker.bootstrap,
            partitions=2,
            sasl="PLAIN",
            user=user,
            password_file=str(self.directory / f"{user}.password"),
        )

    def over_tls(self, user: str) -> Kafka:
        certificate = str(self.directory / "broker.pem")
        return msgspec.structs.replace(self.settings(user), bootstrap=f"{HOST}:{self._tls_port}", tls_ca=certificate)

    def start(self) -> None:
        self.broker.start()
        asyncio.run(topics.create(self.settings("admin")))
        lines = [
            line
            for role in acls.ROLES
            for line in acls.commands(self.settings(role), role, f"User:{role}", str(self.tools))
        ]
        with ThreadPoolExecutor(4) as several:
            list(several.map(grant, lines))

    def _settings(self, plain: int, controller: int) -> dict[str, str]:
        names = " ".join(f'user_{user}="{password(user)}"' for user in USERS)
        login = f'{SASL} username="admin" password="{password("admin")}" {names};'
        clients = f"SASL_PLAINTEXT://{HOST}:{plain},SASL_SSL://{HOST}:{self._tls_port}"
        return {
            "listeners": f"{clients},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": clients,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
            "security.inter.broker.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
            "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
            "ssl.keystore.location": str(self._certificate()),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.password": STORE_PASSWORD,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",  # the controller's own listener knows no names
        }

    def _certificate(self) -> Path:
        """A key store for the broker, and its certificate as the clients want it."""
        store = self.directory / "broker.p12"
        keytool = [str(Path(java()[0]).with_name("keytool")), "-keystore", str(store), "-storepass", STORE_PASSWORD]
        made = ["-genkeypair", "-alias", "broker", "-keyalg", "EC", "-dname", "CN=broker", "-ext", f"SAN=ip:{HOST}"]
        shown = ["-exportcert", "-rfc", "-alias", "broker", "-file", str(self.directory / "broker.pem")]
        for what in ([*made, "-storetype", "PKCS12", "-validity", "2"], shown):
            subprocess.run([*keytool, *what], check=True, capture_output=True)
        return store


def password(user: str) -> str:
    return f"{user}-secret"


def grant(line: str) -> None:
    """A printed command, as the script in Kafka's bin/ would run it."""
    script, *arguments = shlex.split(line)
    assert script == "kafka-acls.sh"
    tool("org.apache.kafka.tools.AclCommand", *arguments)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path_factory.mktemp("guarded"))
    try:
        guarded.start()
        yield guarded
    finally:
        guarded.broker.kill()


async def written(kafka: Kafka, topic: str, value: bytes = b"{}", key: bytes = b"k") -> None:
    producer = AIOKafkaProducer(**kafka.client(), enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(kafka.topic(topic), value, key=key)
    finally:
        await producer.stop()


async def first(kafka: Kafka, topic: str, group: str) -> bytes:
    """The value of the topic's first record, read as a member of a group that commits."""
    consumer = AIOKafkaConsumer(
        kafka.topic(topic),
        **kafka.client(),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    async with asyncio.timeout(60):
        await consumer.start()
        try:
            message = await consumer.getone()
            await consumer.commit()
            return message.value
        finally:
            await consumer.stop()


async def seen(kafka: Kafka, topic: str) -> None:
    """Look at the topic without any group."""
    consumer = AIOKafkaConsumer(kafka.topic(topic), **kafka.client(), auto_offset_reset="earliest")
    async with asyncio.timeout(60):
        try:
            await consumer.start()
            await consumer.getone()
        finally:
            await consumer.stop()


async def committed(kafka: Kafka, group: str) -> None:
    """Try to move the position of another's group."""
    consumer = AIOKafkaConsumer(**kafka.client(), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(kafka.topic("decisions"), 0)
        consumer.assign([place])
        await consumer.commit({place: OffsetAndMetadata(0, "")})
    finally:
        await consumer.stop()


def test_an_agent_publishes_and_reads_nothing_but_commands_and_joins_no_group(guarded: Guarded):
    kafka = guarded.settings("agent")

    async def publish() -> None:
        ingress = KafkaIngress(kafka)
        too_large = Entry("n1", "telemetry", bytes(2 << 20))
        try:
            await ingress.append("observations", [Entry("n1", "tick", b"{}"), too_large])
        finally:
            await ingress.close()

    asyncio.run(publish())
    for topic in ("observations", "dead-letter", "decisions"):
        with pytest.raises(TopicAuthorizationFailedError):
            asyncio.run(seen(kafka, topic))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(written(kafka, "decisions"))
    for group in ("node", "source.n1.kmsg"):
        with pytest.raises(GroupAuthorizationFailedError):
            asyncio.run(committed(kafka, kafka.group(group)))


def test_an_agent_hears_commands_for_its_node(guarded: Guarded):
    heard: asyncio.Queue[str] = asyncio.Queue()

    class Desk:
        async def hear(self, command: records.Command, offset: int) -> None:
            heard.put_nowait(command.id)

        async def refuse(self, command: records.Command, refusal: Refusal) -> None:
            heard.put_nowait(refusal.reason)

    async def passed(position: str) -> None: ...

    async def until_heard() -> str:
        inbox = CommandInbox(guarded.settings("agent"), "listens", "0", passed)
        run = asyncio.create_task(inbox.run(Desk()))
        try:
            async with asyncio.timeout(60):
                return await heard.get()
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    command = records.Command(ts=wall_ms(), node="listens", id="heard", action="reset")
    asyncio.run(issuing.send(guarded.settings("commander"), command))
    assert asyncio.run(until_heard()) == "heard"


def test_an_agent_reads_commands_and_a_check_finds_nothing_wrong(guarded: Guarded):
    findings = asyncio.run(agent_check.findings(guarded.settings("agent")))
    assert {finding.state for finding in findings} == {"ok"}
    assert any(finding.what == "clock" for finding in findings)
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(written(guarded.settings("agent"), "commands"))


@pytest.mark.parametrize("user", ["reader", "nobody"])
def test_whoever_may_not_do_what_an_agent_does_is_told_by_a_check(guarded: Guarded, user: str):
    wrong = [finding for finding in asyncio.run(agent_check.findings(guarded.settings(user))) if finding.state != "ok"]
    assert wrong
    assert all("not authorized" in finding.found and "--role agent" in finding.fix for finding in wrong)


def test_a_worker_commits_outputs_positions_and_states_in_one_transaction(guarded: Guarded):
    kafka = guarded.settings("worker")
    part = Part("cluster", "fleet-events")

    async def work() -> tuple[Checkpoint, Checkpoint | None, int]:
        await written(kafka, "fleet-events")
        await written(kafka, "observations")
        log, task = KafkaLog(kafka), ClusterTask()
        try:
            checkpoint, position = await log.restore(part)
            if checkpoint:
                task.restore(checkpoint)
            batches = log.read(part, position)
            while not (batch := await anext(batches)):
                pass  # nothing has come for a second
            await batches.aclose()
            task.step(batch)
            last = batch[-1]
            out = Output("decisions", "GPU-1", "decision", b"decided", last.ts, last.offset, 0, urgent=True)
            await log.commit(part, [out], last.offset + 1, saved := task.checkpoint())
            return saved, *(await log.restore(part))
        finally:
            await log.close()

    saved, restored, position = asyncio.run(work())
    assert restored == saved
    assert position == saved.next_offset
    assert asyncio.run(first(guarded.settings("reader"), "decisions", "gpu-vitals.reader-mine")) == b"decided"


def test_a_worker_takes_part_in_its_groups_and_judges(guarded: Guarded):
    async def until_it_works() -> dict[str, str]:
        worker, stop = Worker(guarded.settings("worker"), "one"), asyncio.Event()
        run = asyncio.create_task(worker.run(stop))
        async with asyncio.timeout(60):
            while worker.waiting() and not run.done():
                await asyncio.sleep(0.1)
        problems = worker.problems()
        stop.set()
        await run
        return problems

    assert asyncio.run(until_it_works()) == {}


def test_a_worker_may_compare_the_topics_with_the_plan_but_not_create_any(guarded: Guarded):
    kafka = guarded.settings("worker")
    assert asyncio.run(check(kafka)).differences == []
    with pytest.raises(UsageProblem, match=r"^kafka: User:worker is not authorized: may not create more\."):
        asyncio.run(topics.create(msgspec.structs.replace(kafka, prefix="more.")))


def test_a_sink_reads_in_groups_of_its_own_and_writes_nothing_but_dead_letters(guarded: Guarded):
    kafka = guarded.settings("sink")
    asyncio.run(written(guarded.settings("admin"), "scores", b"score"))
    assert asyncio.run(first(kafka, "scores", kafka.group("sink.metrics"))) == b"score"
    asyncio.run(written(kafka, "dead-letter"))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(written(kafka, "decisions"))
    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(committed(kafka, kafka.group("cluster")))


def test_the_metrics_catch_up_with_what_a_sink_may_read(guarded: Guarded):
    async def until_caught_up() -> str:
        follower = KafkaFollower(MetricsSink(), guarded.settings("sink"))
        run = asyncio.create_task(follower.run())
        async with asyncio.timeout(60):
            while not follower.caught_up and not run.done():
                await asyncio.sleep(0.1)
        follower.stop()
        await run
        return follower.away

    assert asyncio.run(until_caught_up()) == ""


def test_a_reader_reads_decisions_and_changes_nothing(guarded: Guarded):
    kafka = guarded.settings("reader")
    asyncio.run(written(guarded.settings("admin"), "groups", b"judged"))
    assert asyncio.run(first(kafka, "groups", "gpu-vitals.reader-mine")) == b"judged"
    for topic in acls.READ_BY_ANYBODY:
        with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
            asyncio.run(written(kafka, topic))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(seen(kafka, "observations"))
    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(committed(kafka, kafka.group("sink.metrics")))


def test_a_commander_commands_and_asks_what_there_is_and_changes_nothing_else(guarded: Guarded):
    kafka = guarded.settings("commander")
    asyncio.run(issuing.send(kafka, records.Command(ts=1, node="n1", id="c1", action="reset")))
    with pytest.raises(UsageProblem, match="node n1 has told no inventory"):
        asyncio.run(issuing.inventory(kafka, "n1"))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(written(kafka, "observations"))
    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(committed(kafka, kafka.group("sink.metrics")))
    with pytest.raises(UsageProblem, match="commands"):
        asyncio.run(issuing.send(guarded.settings("agent"), records.Command(ts=1, node="n1", id="c2", action="reset")))


def test_the_commander_reads_cases_sends_what_they_order_and_passes_over_what_is_none(guarded: Guarded):
    kafka = guarded.settings("commander")
    made = eviction(ts=(now_ms := wall_ms()), order=order("o1", at=now_ms))

    async def until_sent() -> tuple[str, int, int]:
        await written(guarded.settings("admin"), "evictions", b"no case")
        await written(guarded.settings("admin"), "evictions", records.encode(made), made.uuid.encode())
        sink = CommanderSink(KafkaOutbox(kafka, PrivateKey("k1", bytes(32)), lambda: follower.current()))
        follower = KafkaFollower(sink, kafka)
        run = asyncio.create_task(follower.run())
        async with asyncio.timeout(60):
            while not (sink.sent or follower.away or sink.outage or run.done()):
                await asyncio.sleep(0.1)
        follower.stop()
        await run
        await sink.close()
        return follower.away or sink.outage, sink.sent["reset"], follower.stats().dead_letters

    away, sent, letters = asyncio.run(until_sent())
    assert (away, sent) == ("", 1)
    assert letters == 1


def test_a_revalidator_reads_what_is_to_be_checked_and_answers_and_reads_no_decisions(guarded: Guarded):
    kafka = guarded.settings("revalidator")
    said = records.Revalidated(ts=1, node="n1", uuid="GPU-1", detected=1, end=1, result="clean")
    asyncio.run(rechecking.say(kafka, [said]))
    assert asyncio.run(rechecking.rechecks(kafka)) == ([], 0)
    for topic in ("revalidated", "revalidations"):
        with pytest.raises(TopicAuthorizationFailedError):
            asyncio.run(written(kafka, topic))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(seen(kafka, "decisions"))
    with pytest.raises(UsageProblem, match="observations"):
        asyncio.run(rechecking.say(guarded.settings("reader"), [said]))


def test_a_scheduler_follows_cases_alone_and_reports_and_changes_nothing_else(guarded: Guarded):
    kafka = guarded.settings("scheduler")

    class Alone(MetricsSink):
        name = "scheduler"
        topics = ("evictions",)
        alone = True

    async def until_caught_up() -> str:
        follower, reports = KafkaFollower(Alone(), kafka), KafkaReports(kafka)
        run = asyncio.create_task(follower.run())
        async with asyncio.timeout(60):
            while not follower.caught_up and not run.done():
                await asyncio.sleep(0.1)
        await reports.send([records.Serving(ts=1, node="n1", scheduler="http", state="drained")])
        await reports.close()
        follower.stop()
        await run
        return follower.away

    assert asyncio.run(until_caught_up()) == ""
    for topic in ("decisions", "evictions", "commands"):
        with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
            asyncio.run(written(kafka, topic))
    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(committed(kafka, kafka.group("sink.metrics")))


def test_an_operator_speaks_and_may_see_what_becomes_of_it(guarded: Guarded):
    kafka = guarded.settings("operator")
    word = records.Operator(ts=wall_ms(), node="", action="hold", until=wall_ms() + 60_000, id="w1")
    asyncio.run(words.say(kafka, word))
    assert asyncio.run(hearing.followed(kafka, Trace(word), 1.0)) == Outcome(None, ""), "nobody judges there"
    asyncio.run(heard_to(kafka))
    unseen = asyncio.run(hearing.followed(guarded.settings("scheduler"), Trace(word), 60.0))
    assert (unseen.taken, "uthoriz" in unseen.text) == (None, True)
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(written(kafka, "fleet-events"))
    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(committed(kafka, kafka.group("cluster")))


async def heard_to(kafka: Kafka) -> None:
    """Whoever may not ask how far a group has come gets no answer."""
    offsets = Offsets(kafka)
    try:
        async with asyncio.timeout(60):
            await offsets.committed(kafka.group("cluster"), TopicPartition(kafka.topic("fleet-events"), 0))
    finally:
        await offsets.close()


def test_whom_nothing_was_granted_is_told_so_instead_of_topics_that_are_missing(guarded: Guarded):
    for ask in (check, topics.create):
        with pytest.raises(UsageProblem, match=r"^kafka: User:nobody is not authorized: may not "):
            asyncio.run(ask(guarded.settings("nobody")))


def test_a_wrong_password_is_one_clear_line(guarded: Guarded, tmp_path: Path):
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    kafka = msgspec.structs.replace(guarded.settings("worker"), password_file=str(wrong))
    with pytest.raises(UsageProblem, match=r"^kafka: no broker answers: .*Authentication failed: Invalid username"):
        asyncio.run(check(kafka))


def test_a_password_that_is_renewed_on_disk_is_used_from_the_next_connection_on(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(credentials, "LOOK_S", 0.0)
    monkeypatch.setattr(credentials, "SPREAD_S", 0.0)
    file = tmp_path / "password"
    file.write_text(password("agent"))
    kafka = msgspec.structs.replace(guarded.settings("agent"), password_file=str(file))

    async def publish() -> None:
        ingress = KafkaIngress(kafka)
        try:
            await ingress.append("observations", [Entry("n1", "tick", b"{}")])
            file.write_text("no longer right")
            with pytest.raises(Unavailable, match="Unable to bootstrap"):
                await ingress.append("observations", [Entry("n1", "tick", b"{}")])
            file.write_text(password("agent"))
            await ingress.append("observations", [Entry("n1", "tick", b"{}")])
        finally:
            await ingress.close()

    asyncio.run(publish())


def test_over_tls_names_and_passwords_work_as_well(guarded: Guarded):
    asyncio.run(written(guarded.over_tls("agent"), "observations"))
    assert asyncio.run(check(guarded.over_tls("worker"))).differences == []


def test_a_broker_whose_certificate_is_not_trusted_is_not_spoken_to(guarded: Guarded):
    kafka = msgspec.structs.replace(guarded.over_tls("worker"), tls_ca=None, tls=True)
    with pytest.raises(UsageProblem, match=r"^kafka: no broker answers: .*certificate verify failed"):
        asyncio.run(check(kafka))
    with pytest.raises(KafkaError):
        asyncio.run(written(kafka, "observations"))
