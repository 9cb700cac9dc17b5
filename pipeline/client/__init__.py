"""For schedulers to import: the weights of GPUs, followed over HTTP or from Kafka, and a choice by them.

    from pipeline.client import HealthWeights, HttpSource

    with HealthWeights(HttpSource("http://127.0.0.1:9109")) as weights:
        weights.wait_ready()
        gpu = weights.select()

Importing it loads neither numpy nor a Kafka client: only `select_many` needs the one, only `KafkaSource` the other.
"""

from pipeline.client.errors import NoHealthyGpus
from pipeline.client.health_weights import HealthWeights
from pipeline.client.http_source import HttpSource
from pipeline.client.kafka_source import KafkaSource
from pipeline.client.source import Source
from pipeline.client.view import Change
from pipeline.kafka.settings import Kafka
from schemas.weights import weight_of_score

__all__ = [
    "Change",
    "HealthWeights",
    "HttpSource",
    "Kafka",
    "KafkaSource",
    "NoHealthyGpus",
    "Source",
    "weight_of_score",
]
