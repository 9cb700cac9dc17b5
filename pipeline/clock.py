"""The wall clock in the unit of the logs: the default wherever a clock is an argument."""

import time


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
