"""A commander as a process of its own that ends when nothing waits, and is killed at its Nth step if it comes that far.

    python -m tests.pipeline.commander.scripted_commander BOOTSTRAP PREFIX KEY_FILE KILL_AT

Steps: before and after it has made sure that it has read all there is, and before and after a command is put on Kafka.
Prints how many steps there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from pipeline.commander.outbox import KafkaOutbox
from pipeline.kafka.follow import KafkaFollower
from pipeline.kafka.settings import Kafka
from pipeline.node_commands.keys import private_key
from schemas.records import Command
from sinks.commander.sink import CommanderSink


class KillableOutbox(KafkaOutbox):
    steps = 0
    kill_at = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async def current(self) -> None:
        self.step()
        await super().current()
        self.step()

    async def send(self, command: Command) -> None:
        self.step()
        await super().send(command)
        self.step()


async def main(bootstrap: str, prefix: str, key_file: str, kill_at: str) -> None:
    kafka = Kafka(bootstrap=bootstrap, prefix=prefix, partitions=2)
    outbox = KillableOutbox(kafka, private_key(key_file), lambda: follower.current())
    outbox.kill_at = int(kill_at)
    sink = CommanderSink(outbox, per_s=1000.0)
    follower = KafkaFollower(sink, kafka)
    following = asyncio.create_task(follower.run())
    while not follower.caught_up or sink._orders.waiting():
        await asyncio.sleep(0.005)
    follower.stop()
    await following
    await sink.close()
    print(outbox.steps)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
