"""Checks again what GPUs made while their memory may have been wrong, and says what it found: docs/revalidation.md.

    python revalidator.py requests.sqlite 127.0.0.1:9092

requests.sqlite holds what was served: requests(gpu, time_ms, prompt, output). Needs aiokafka and nothing of ours.
"""

import asyncio
import json
import socket
import sqlite3
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

AFFECTED = "SELECT prompt, output FROM requests WHERE gpu = ? AND time_ms BETWEEN ? AND ?"


def made_again(prompt: str) -> str:
    """What a healthy GPU makes of it. Put your own in place of this: a request to your service, at temperature 0."""
    return prompt[::-1]


def checked(store: sqlite3.Connection, asked: dict) -> dict:
    """The answer: how many outputs of that GPU and time there are, and how many are not what they should be."""
    gpu = asked.get("uuid") or f"{asked['node']}/{asked['bdf']}"
    outputs = store.execute(AFFECTED, (gpu, asked["start"], asked["end"])).fetchall()
    wrong = sum(made_again(prompt) != output for prompt, output in outputs)
    # No outputs may mean that nothing ran there, or that they are not kept: only you know. Here it is the latter.
    result = "corrupt" if wrong else "clean" if outputs else "unknown"
    same = {name: asked[name] for name in ("cluster", "node", "uuid", "bdf", "detected", "end") if name in asked}
    counts = {"result": result, "checked": len(outputs), "wrong": wrong}
    return {"ts": int(1000 * time.time()), **same, **counts, "author": f"revalidator@{socket.gethostname()}"}


async def follow(path: str, bootstrap: str, prefix: str = "gpu-vitals.") -> None:
    """Read both topics from the beginning, at each start: what has no answer to its newest evidence gets one.

    So nothing is to be remembered. Whoever dies between a check and its answer checks again, and an answer that was
    given twice says the same twice.
    """
    asked, answered, store = {}, {}, sqlite3.connect(path)
    requests, answers = (TopicPartition(prefix + name, 0) for name in ("revalidations", "revalidated"))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest", group_id=None
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    consumer.assign([requests, answers])
    await consumer.seek_to_beginning(requests, answers)
    ends = await consumer.end_offsets([requests, answers])
    while True:
        for place, messages in (await consumer.getmany(timeout_ms=500)).items():
            for message in messages:
                record = json.loads(message.value)
                episode = message.key, record["detected"]  # the newest record of each counts
                if record.get("v", 1) == 1:
                    (asked if place == requests else answered)[episode] = record
        if any([await consumer.position(place) < end for place, end in ends.items()]):
            continue  # what stands further back may have been answered, or replaced
        for episode, request in asked.items():
            if episode in answered and answered[episode]["end"] >= request["end"]:
                continue
            answered[episode] = answer = checked(store, request)
            await producer.send_and_wait(
                f"{prefix}observations",
                json.dumps(answer).encode(),
                key=answer["node"].encode(),
                headers=[("kind", b"revalidated")],
            )
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
