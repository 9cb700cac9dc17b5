"""The newest predictions that ask for something to be done, as gauges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from prometheus_client.core import Metric

from schemas import records
from schemas.log import Record
from schemas.states import PredictionAction
from sinks.families import gauge

LABELS = ("gpu_id", "hostname", "action")

Prediction = tuple[str, records.Prediction]


class Predictions:
    """By key; a GPU that is only watched has none."""

    def __init__(self) -> None:
        self._by_key: dict[str, records.Prediction] = {}

    def take(self, record: Record) -> None:
        """Raises ValueError for a record that cannot be read."""
        prediction = _decode(record.value) if record.value else None
        self._by_key.pop(record.key, None)
        if prediction is not None and prediction.action is not PredictionAction.MONITOR:
            self._by_key[record.key] = prediction

    def pressing(self) -> list[Prediction]:
        return list(self._by_key.items())


def foretold(predictions: Sequence[Prediction]) -> Iterator[Metric]:
    told = [((key, each.node, each.action.value), each) for key, each in predictions]
    yield gauge(
        "gpu_vitals_prediction_hours",
        "Hours until a GPU is foreseen to fail, where a prediction asks for more than to monitor it.",
        LABELS,
        [(at, each.hours) for at, each in told if each.hours is not None],
    )
    yield gauge(
        "gpu_vitals_prediction_confidence",
        "Confidence of that prediction, 0 to 1: no probability, unless the model says so.",
        LABELS,
        [(at, each.confidence) for at, each in told],
    )


_decode = msgspec.json.Decoder(records.Prediction).decode
