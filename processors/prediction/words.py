"""A forecast in words."""

from __future__ import annotations

import math

from processors.prediction.predictions import Foretold
from schemas.states import PredictionAction

_SAID = {
    PredictionAction.MONITOR: "nothing to be done",
    PredictionAction.ORDER_REPLACEMENT: "order a replacement",
    PredictionAction.SCHEDULE_MAINTENANCE: "schedule maintenance",
    PredictionAction.EVICT_NOW: "evict now",
}


def in_words(model: str, foretold: Foretold) -> str:
    """`order a replacement: failure foreseen in 93 h (model default, confidence 0.81), 25 correctable errors/h now`."""
    forecast = foretold.forecast
    hours = forecast.hours
    foreseen = "no failure foreseen" if math.isinf(hours) else f"failure foreseen in {hours:.3g} h"
    trust = f"(model {model}, confidence {forecast.confidence:.2f})"
    return f"{_SAID[forecast.action]}: {foreseen} {trust}, {foretold.errors_per_hour:.3g} correctable errors/h now"
