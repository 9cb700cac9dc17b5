"""The Faust application of a worker. Import `app` and `topic` to run agents of yours beside the stages:

    from pipeline.faust_app import app, topic

    @app.agent(topic("decisions"))
    async def watch(decisions):
        async for decision in decisions:              # a `schemas.records.Decision`; None: the GPU is gone
            if decision and decision.weight == 0.0:
                print(f"{decision.node} {decision.uuid} {decision.cause}", flush=True)

    $ gpu-vitals worker --agents my_agents            or: faust -A my_agents worker --without-web

Settings come from the environment (`GPU_VITALS_*`) and the settings file, as everywhere. An agent sees committed
records at least once: after a crash the newest come again, with the same `origin` in their headers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import msgspec
from faust import SASLCredentials, SSLCredentials
from faust.serializers import codecs
from faust.types import ChannelT, StreamT

from pipeline import settings
from pipeline.faust_host import App, DataPlane
from pipeline.kafka.settings import Kafka
from pipeline.topology import STAGES
from schemas import records, topics

WORKER_OPTIONS = ("STAGE", "INSTANCE", "LISTEN")
TYPES: dict[str, Any] = {
    topics.XIDS: records.Xid,
    topics.INVENTORY: records.Inventory,
    topics.RATES: records.Rate,
    topics.SCORES: records.Score,
    topics.REVALIDATIONS: records.Revalidation,
    topics.REVALIDATED: records.Revalidated,
    topics.INCIDENTS: records.Incident,
    topics.PREDICTIONS: records.Prediction,
    topics.FLEET_EVENTS: records.FleetEvent,
    topics.DECISIONS: records.Decision,
    topics.EVICTIONS: records.Eviction,
    topics.GROUPS: records.GroupVerdict,
    topics.BRAKES: records.Brakes,
    topics.DEAD_LETTER: records.DeadLetter,
}

logger = logging.getLogger(__name__)


def topic(name: str) -> ChannelT[Any]:
    """Our topic `name` for an agent: keys are text, values the records of `schemas.records`.

    Raises KeyError for a topic that agents cannot read: telemetry is for the stages.
    """
    return app.topic(
        kafka.topic(name), key_type=str, key_serializer="raw", value_serializer=_Codec(TYPES[name]), allow_empty=True
    )


class _Codec(codecs.Codec):
    def __init__(self, type_: Any, **more: Any) -> None:
        super().__init__(**more)
        self._type = type_

    def _loads(self, data: bytes) -> Any:
        return msgspec.json.decode(data, type=self._type)

    def _dumps(self, value: Any) -> bytes:
        return msgspec.json.encode(value)


def _made(kafka: Kafka, environment: Mapping[str, str]) -> App:
    """The worker's own options come from the environment too: Faust's command line knows nothing of them."""
    stage, instance, listen = (environment.get(f"{settings.PREFIX}WORKER_{name}") for name in WORKER_OPTIONS)
    client = kafka.client()
    context = client.get("ssl_context")
    credentials: SASLCredentials | SSLCredentials | None = None
    if kafka.sasl:
        credentials = SASLCredentials(
            username=client["sasl_plain_username"],
            password=client["sasl_plain_password"],
            mechanism=kafka.sasl,
            ssl_context=context,
        )
    elif context:
        credentials = SSLCredentials(context)
    made = App(
        kafka.group("agents"),
        broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap.split(",")],
        broker_credentials=credentials,
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.session_timeout_s / 4,
        broker_request_timeout=max(30.0, 2 * kafka.session_timeout_s),
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
    )
    stages = [each for each in STAGES if stage in (None, "", "all", each.name)]
    made.data_plane = DataPlane(kafka, instance or None, stages, listen, beacon=made.beacon)
    return made


kafka = settings.load(None, os.environ, {}).kafka
app = _made(kafka, os.environ)


@app.agent(topic(topics.DEAD_LETTER))
async def dead_letters(letters: StreamT[records.DeadLetter | None]) -> None:
    """One line for each record that could not be understood; `gpu-vitals dead-letters` shows the whole."""
    async for letter in letters:
        if letter:
            logger.warning("dead letter: %s of node %s: %s", letter.source, letter.node or "none", letter.why)
