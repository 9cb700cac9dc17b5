"""The section `[prediction]` of the policy: which predictor, and each one's own keys under its name."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from processors.prediction.predictor import discover
from processors.signal import Share


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """points_every_s: errors are summed up, and forecasts made, per so much node time; another value forgets what was
    summed up before.

    hours_step_share, confidence_step: a forecast is published when its action is more urgent than that of the one
    before; else when its hours differ by that share, or its confidence by that much.
    """

    points_every_s: Annotated[float, msgspec.Meta(ge=300.0, le=25_200.0)] = 3600.0
    hours_step_share: Share = 0.25
    confidence_step: Share = 0.1


@cache
def policy_type() -> type[msgspec.Struct]:
    predictors = discover()
    own: list[tuple[str, Any, Any]] = [
        (name, predictor.Policy, predictor.Policy()) for name, predictor in predictors.items()
    ]
    return msgspec.defstruct(
        "Prediction",
        [("model", Literal[tuple(predictors)], "default"), *own],
        bases=(Common,),
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )
