"""What a scheduler holds: from threads, from asyncio, and what it is told of changes."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from threading import Event, Thread, current_thread, main_thread

import numpy as np
import pytest

from pipeline.client import Change, HealthWeights, HttpSource
from pipeline.kafka.testing import decision

ONE, TWO, THREE = (decision(gpu).key for gpu in (1, 2, 3))


def test_workers_are_chosen_by_the_worst_of_their_gpus(api, soon):
    api.give(decision(1, cause=1), decision(2, 0.5, cause=2), decision(3, 0.0, cause=3))
    with HealthWeights(HttpSource(api.url), workers={"a": [ONE], "b": [ONE, TWO], "c": [TWO, THREE]}) as weights:
        weights.wait_ready()
        assert weights.weights() == {"a": 1.0, "b": 0.5, "c": 0.0}
        counts = Counter(weights.select_many(np.random.default_rng(5), 30_000))
        assert counts.keys() == {"a", "b"}
        assert counts["a"] == pytest.approx(20_000, abs=400)
        weights.set_workers({"d": [TWO]})
        assert (weights.select(), weights.weight("d"), weights.weight("a")) == ("d", 0.5, None)


def test_changes_are_told_and_a_callback_that_fails_stops_nothing(api, soon, caplog):
    told = []

    def hear(changes):
        told.extend(changes)
        raise RuntimeError("mine")

    api.give(decision(1, cause=1))
    with HealthWeights(HttpSource(api.url), on_change=hear) as weights:
        weights.wait_ready()
        api.give(decision(1, 0.0, cause=2))
        soon(lambda: len(told) == 2)
    assert told == [Change(ONE, None, 1.0), Change(ONE, 1.0, 0.0)]
    assert "on_change failed" in caplog.text


def test_under_asyncio_the_loop_stays_free_and_is_told_of_changes(api):
    api.give(decision(1, cause=1), live=False)

    async def schedule():
        told, threads = asyncio.Queue(), set()

        def hear(changes):
            threads.add(current_thread())
            told.put_nowait(changes)

        async with HealthWeights(HttpSource(api.url, backoff_s=(0.02, 0.1)), on_change=hear) as weights:
            waiting = asyncio.create_task(weights.ready())
            await asyncio.sleep(0.05)  # the loop runs meanwhile
            assert not waiting.done()
            await asyncio.to_thread(api.give, decision(2, cause=2))
            await waiting
            first = await told.get()
            await asyncio.to_thread(api.give, decision(1, 0.0, cause=3))
            return first, await told.get(), weights.select(), threads

    first, then, chosen, threads = asyncio.run(schedule())
    assert first == [Change(ONE, None, 1.0), Change(TWO, None, 1.0)]
    assert (then, chosen, threads) == ([Change(ONE, 1.0, 0.0)], TWO, {main_thread()})


def test_readers_in_threads_never_get_what_weighs_nothing(api, soon):
    """GPU 1 and 2 change places again and again; GPU 3 never has a weight. Whoever sees torn sums draws it."""
    api.give(decision(1, cause=1), decision(2, cause=2), *(decision(gpu, 0.0, cause=gpu) for gpu in range(3, 200)))
    stop, drawn = Event(), [set() for _ in range(3)]
    with HealthWeights(HttpSource(api.url)) as weights:
        weights.wait_ready()

        def read(into, seed):
            single, many = random.Random(seed), np.random.default_rng(seed)
            while not stop.is_set():
                into.add(weights.select(single))
                into.update(weights.select_many(many, 10))

        readers = [Thread(target=read, args=(into, seed)) for seed, into in enumerate(drawn)]
        for reader in readers:
            reader.start()
        last = 1000
        for cause in range(300, last, 2):
            one = 1 + cause // 2 % 2
            api.give(decision(one, 1.0, cause=cause), decision(3 - one, 0.1, cause=cause + 1))
        soon(lambda: weights.as_of.origin == f"0/cluster/0/{last - 1}/0")
        stop.set()
        for reader in readers:
            reader.join()
    assert all(into == {ONE, TWO} for into in drawn)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"stale": "healthy"}, 'stale: \'healthy\': "freeze" or "stop"'),
        ({"stale_after_s": 0.0}, "stale_after_s: 0.0"),
        ({"unheard_weight": 1.5}, "unheard_weight: 1.5"),
        ({"workers": {"w": []}}, "worker 'w'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        HealthWeights(HttpSource("http://127.0.0.1:9"), **options)


def test_one_is_started_once_and_closed_as_often_as_one_likes():
    weights = HealthWeights(HttpSource("http://127.0.0.1:9"))
    weights.close()
    weights.start()
    with pytest.raises(RuntimeError, match="started already"):
        weights.start()
    weights.close()
    weights.close()


def test_importing_it_loads_no_numpy_no_kafka_client_and_no_stage():
    code = "import sys, pipeline.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "msgspec" in loaded
    assert not {"numpy", "aiokafka", "faust", "processors", "producers", "prometheus_client", "click"} & set(loaded)
