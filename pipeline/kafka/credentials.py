"""Files of certificates and passwords, watched: what renews them writes new ones and tells nobody."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from pipeline.kafka.settings import Kafka

LOOK_S = 5.0
SPREAD_S = 50.0  # a fleet whose files change at one moment does not connect at one


class Credentials:
    """The files of `kafka` as they are now."""

    def __init__(self, kafka: Kafka, clock: Callable[[], float] = time.monotonic) -> None:
        files = (kafka.tls_ca, kafka.tls_cert, kafka.tls_key, kafka.password_file)
        self._files = [file for file in files if file]
        self._clock = clock
        self._known = self._look()
        self._look_at = clock() + LOOK_S
        self._due: float | None = None

    def changed(self) -> bool:
        """Whether the files have changed, and it is this process's turn to take them."""
        now = self._clock()
        if self._files and now >= self._look_at and self._due is None:
            self._look_at = now + LOOK_S
            if self._look() != self._known:
                self._due = now + random.uniform(0.0, SPREAD_S)
        return self._due is not None and now >= self._due

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_state(file) for file in self._files]


def _state(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:  # between the old one and the new one
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
