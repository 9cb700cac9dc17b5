"""Hypothesis profiles: `ci` tries the same examples every time, the default one tries new ones. And a broker."""

import asyncio
import gc
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pipeline.kafka import reading, topics
from pipeline.kafka.settings import Kafka
from scripts.kafka_broker import Broker

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says everything at each try; outages are our tests
TIMELESS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # of a machine, not of what is tested
settings.register_profile("default", **TIMELESS)
settings.register_profile("ci", derandomize=True, **TIMELESS)
settings.load_profile("ci" if os.environ.get("CI") else "default")


COLLECTIONS = 5  # what a finalizer has brought back once goes the next time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A client of aiokafka that is let go of while it connects leaves its socket to the collector (0.14)."""
    for item in items:
        if _with_broker(item):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def _collected(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a test with a broker leaves is collected in that test, not in the next one."""
    yield
    if _with_broker(request.node):
        caplog.get_records("call").clear()  # they hold exceptions, these hold frames, and these all there was
        for _ in range(COLLECTIONS):
            gc.collect()


def _with_broker(item: pytest.Item) -> bool:
    return bool({"bootstrap", "own_broker"} & set(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a real Kafka is: GPU_VITALS_TEST_BOOTSTRAP, else one that is started here and ends with the tests."""
    if given := os.environ.get("GPU_VITALS_TEST_BOOTSTRAP"):
        yield given
        return
    broker = Broker(tmp_path_factory.mktemp("kafka") / "broker")
    broker.start()
    yield broker.bootstrap
    broker.stop()


@pytest.fixture
def unmade(bootstrap: str) -> Kafka:
    """Settings with a prefix of the test's own; no topic exists yet."""
    return Kafka(bootstrap=bootstrap, prefix=f"t{uuid.uuid4().hex[:8]}.", partitions=2, session_timeout_s=2.0)


@pytest.fixture
def kafka(unmade: Kafka) -> Kafka:
    """The same with all topics, empty."""
    asyncio.run(topics.create(unmade))
    return unmade


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, to kill and to start again."""
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def settled() -> Callable[[Kafka, str], Awaitable[None]]:
    """Waits until what was committed to a topic can be read: that is moments after the commit has returned."""

    async def wait(kafka: Kafka, topic: str) -> None:
        places = (await reading.partitions(kafka, topic))[topic]
        async with reading.opened(kafka) as committed, reading.opened(kafka, committed=False) as all_:
            async with asyncio.timeout(60.0):
                while await committed.kept(places) != await all_.kept(places):
                    await asyncio.sleep(0.01)

    return wait
