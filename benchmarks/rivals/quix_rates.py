"""Quix Streams, in an environment of its own: a stateful function over a dataframe; state in RocksDB, with changelog.

$ python benchmarks/rivals/quix_rates.py BOOTSTRAP TOPIC WARM COUNT
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from quixstreams import Application, State
from rate import Meter, update


def main(bootstrap: str, topic: str, warm: str, count: str) -> None:
    meter = Meter(int(warm), int(count))

    def rate(sample: dict[str, Any], state: State) -> float:
        kept = state.get("rate", {})
        found = update(kept, sample)
        state.set("rate", kept)
        if meter.add():
            application.stop()
        return found

    with tempfile.TemporaryDirectory() as directory:
        application = Application(
            broker_address=bootstrap,
            consumer_group="quix-rates",
            auto_offset_reset="earliest",
            state_dir=directory,
            loglevel="WARNING",
        )
        application.dataframe(application.topic(topic, value_deserializer="json")).apply(rate, stateful=True)
        application.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
