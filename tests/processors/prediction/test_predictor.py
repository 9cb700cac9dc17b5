"""Predictors are found, and another takes the place of ours by configuration alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.policies import load
from processors.policy import from_document
from processors.prediction.predictor import Actions, discover

HAZARD = '''
import msgspec
from processors.prediction.predictor import Predictor


class Seen(msgspec.Struct, frozen=True):
    errors: int = 0


class Hazard(Predictor):
    """Fails after so many errors."""

    name = "hazard"
    State = Seen

    class Policy(Predictor.Policy, frozen=True, forbid_unknown_fields=True, kw_only=True):
        errors_max: int = 7

    def begin(self):
        return Seen()

    def observe(self, state, bucket, bucket_h):
        return Seen(state.errors + bucket.errors)

    def forecast(self, evidence, state, policy):
        return policy.forecast(1.0, min(state.errors / policy.errors_max, 1.0))
'''

RUN = """
import json
from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import Observations, judge
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP

chosen = {"prediction": {"model": "hazard", "hazard": {"errors_max": 4}}}
log = Observations().policy(0.0, from_document("mine", chosen))
for minute in range(1, 130):
    log.frame("n1", 60.0 * minute, {GPU_TEMP: [50], ECC_SBE_VOLATILE: [minute // 30]})
half = len(log.records) // 2
first, second = NodeTask(), NodeTask()
said = judge(log.records[:half], first).predictions
second.restore(first.checkpoint())
said += judge(log.records[half:], second).predictions
print(json.dumps([[each.model, each.action, each.hours, each.confidence] for each in said]))
"""


def test_ours_are_found_and_chosen_by_the_policy() -> None:
    assert list(discover()) == ["default", "spec"]
    assert load("default").values.prediction.model == "default"
    assert load("spec").values.prediction.model == "spec"


def test_another_takes_their_place_by_configuration(tmp_path: Path) -> None:
    """Installed beside us, with a state of its own, over a checkpoint."""
    metadata = tmp_path / "hazard-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hazard\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[gpu_vitals.predictors]\nhazard = hazard:Hazard\n")
    (tmp_path / "hazard.py").write_text(HAZARD)
    root = Path(__file__).parents[3]
    run = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]\n{RUN}"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["hazard", "evict-now", 1.0, 0.5],  # as soon as that is more urgent
        ["hazard", "evict-now", 1.0, 1.0],  # else when an hour is over
    ]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"model": "crystal-ball"}, "$.prediction.model"),
        ({"default": {"z": 1.0}}, "$.prediction.default"),
        ({"spec": {"evict_within_h": 30.0}}, "$.prediction.spec"),
        ({"points_every_s": 1.0}, "$.prediction.points_every_s"),
        ({"points_every_s": 25_201.0}, "$.prediction.points_every_s"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_path(document: dict[str, object], path: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"hours must rise|Invalid|unknown|Expected") as refused:
        from_document("x", {"prediction": document})
    assert f"`{path}`" in str(refused.value)


def test_hours_must_rise() -> None:
    with pytest.raises(ValueError, match="hours must rise from evict_within_h"):
        Actions(maintenance_within_h=2.0)
