"""Faust, as its documentation has it: an agent, a table, an update for every event.

$ python -m benchmarks.rivals.faust_rates BOOTSTRAP TOPIC PARTITIONS WARM COUNT
"""

from __future__ import annotations

import os
import sys
from typing import Any

import faust

from benchmarks.rivals.rate import Meter, update

ID = "faust-rates"
CHANGELOG = f"{ID}-rates-changelog"


def app(bootstrap: str, topic: str, partitions: int, meter: Meter) -> faust.App:
    made = faust.App(
        ID,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_partitions=partitions,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=ID,  # else it waits longer for its own group
        web_enabled=False,
    )
    table = made.Table("rates", default=dict, partitions=partitions)

    @made.agent(made.topic(topic, key_type=str, key_serializer="raw", value_serializer="json"))
    async def rates(samples: faust.Stream[dict[str, Any]]) -> None:
        async for sample in samples:
            state = table[sample["uuid"]]
            update(state, sample)
            table[sample["uuid"]] = state
            if meter.add():
                os._exit(0)  # its own way out takes as long again

    return made


def main(bootstrap: str, topic: str, partitions: str, warm: str, count: str) -> None:
    made = app(bootstrap, topic, int(partitions), Meter(int(warm), int(count)))
    made.finalize()
    sys.argv[1:] = ["worker", "--without-web", "-l", "warn"]
    made.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
