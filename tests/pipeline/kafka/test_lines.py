"""Which records `tail` chooses."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.kafka.lines import Chosen

GROUP = {"node": "n1", "group": "g", "gpus": ["GPU-a", "GPU-b"]}
INVENTORY = {"node": "n1", "gpus": [{"uuid": "GPU-a", "bdf": "0000:18:00"}]}


@pytest.mark.parametrize(
    ("value", "chosen", "matches"),
    [
        (GROUP, Chosen(gpu="GPU-b"), True),
        (GROUP, Chosen(gpu="GPU-c"), False),
        (GROUP, Chosen(gpu="g"), True),
        (GROUP, Chosen(node="n1"), True),
        (GROUP, Chosen(node="n2"), False),
        (INVENTORY, Chosen(gpu="GPU-a"), True),
        (INVENTORY, Chosen(gpu="n1/0000:18:00"), True),
        (INVENTORY, Chosen(gpu="n2/0000:18:00"), False),
        ({"gpus": [None, 7]}, Chosen(gpu="GPU-a"), False),
    ],
)
def test_a_record_is_about_the_gpus_that_it_lists(value: Any, chosen: Chosen, matches: bool) -> None:
    assert chosen.matches("g", value) is matches
