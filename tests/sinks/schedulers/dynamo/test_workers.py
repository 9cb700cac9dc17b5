"""GPU -> worker: by model cards and by a file of the operator's."""

from __future__ import annotations

import asyncio
import os

import pytest

from sinks.schedulers.adapter import Gpu
from sinks.schedulers.dynamo.discovery import Key
from sinks.schedulers.dynamo.workers import BadMapping, GpuMap, Worker, workers
from tests.sinks.schedulers.dynamo.worlds import FileWorld, SystemServer, adapter, card

A, B = "d94e88a9acea227f", "f4acc718d2c912ea"
GPU = Gpu("n1", "GPU-1", "")


def key(instance):
    return Key("dynamo", "backend", "generate", instance)


@pytest.mark.parametrize(
    ("content", "worker"),
    [
        (card(A, ["GPU-1", "GPU-2"], "10.0.0.5:18081"), Worker("10.0.0.5:18081", frozenset({"GPU-1", "GPU-2"}))),
        (card(A), Worker("", frozenset())),
        (card(A, "GPU-1"), Worker("", frozenset())),
        (card(A, [1, None, "GPU-1"]), Worker("", frozenset({"GPU-1"}))),
        (b"no json", Worker("", frozenset())),
        (b"[]", Worker("", frozenset())),
        (b'{"card_json": {"runtime_config": null, "x": "http://[bad/v1/metadata/"}}', Worker("", frozenset())),
        (b'{"card_json": {"x": "https://example.com:80/v1/metadata/"}}', Worker("", frozenset())),
    ],
)
def test_a_card_says_which_gpus_its_worker_has_and_where_it_can_be_asked(content, worker):
    assert workers([(key(A), content)], {}, {}) == {A: worker}


def test_the_file_names_a_worker_by_its_address_or_its_instance():
    cards = [(key(A), card(A, address="10.0.0.5:18081")), (key(B), card(B))]
    mapped = {"GPU-1": "10.0.0.5:18081", "GPU-2": "10.0.0.5:18081", "GPU-3": B, "GPU-4": "10.0.0.9:1"}
    assert workers(cards, mapped, {}) == {
        A: Worker("10.0.0.5:18081", frozenset({"GPU-1", "GPU-2"})),
        B: Worker("", frozenset({"GPU-3"})),
    }
    assert workers(cards, mapped, {"10.0.0.9:1": B})[B] == Worker("10.0.0.9:1", frozenset({"GPU-3", "GPU-4"}))


def test_several_cards_of_one_worker_are_one_worker():
    cards = [(key(A), card(A, ["GPU-1"])), (key(A), card(A, ["GPU-2"], "h:1"))]
    assert workers(cards, {}, {}) == {A: Worker("h:1", frozenset({"GPU-1", "GPU-2"}))}


def test_a_mapped_address_that_no_card_tells_is_asked_who_is_there(tmp_path):
    world = FileWorld(tmp_path / "kv")
    world.start(A)
    server = SystemServer({A: 4})
    file = tmp_path / "workers.toml"
    file.write_text(f'"{GPU.uuid}" = "{server.address}"\n"GPU-2" = "127.0.0.1:1"\n')
    dynamo = adapter(world, tmp_path / "state", file)
    assert asyncio.run(dynamo.units([GPU])) == {GPU: [A]}
    assert asyncio.run(dynamo.look([A]))[A].in_flight == 4
    server.close()
    assert asyncio.run(dynamo.units([GPU])) == {GPU: [A]}  # a worker that hangs is still the one it was
    world.end(A)
    assert asyncio.run(dynamo.units([GPU])) == {GPU: []}
    asyncio.run(dynamo.close())


@pytest.mark.parametrize(("name", "text"), [("w.toml", '"GPU-1" = "h:1"'), ("w.json", '{"GPU-1": "h:1"}')])
def test_the_file_is_toml_or_json(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert GpuMap(tmp_path / name).workers() == {"GPU-1": "h:1"}


@pytest.mark.parametrize(
    ("name", "text"), [("w.toml", "GPU-1"), ("w.json", "{"), ("w.json", "[]"), ("w.toml", '"GPU-1" = 3')]
)
def test_a_file_that_cannot_be_used_from_the_beginning_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadMapping, match=f"{name}: "):
        GpuMap(tmp_path / name).workers()
    with pytest.raises(BadMapping, match="absent: no such file or directory"):
        GpuMap(tmp_path / "absent").workers()


def test_a_file_that_cannot_be_used_any_more_is_taken_as_it_was_and_that_is_said_once(tmp_path, caplog):
    file = tmp_path / "w.toml"
    file.write_text('"GPU-1" = "h:1"')
    gpu_map = GpuMap(file)
    gpu_map.workers()
    file.write_text('"GPU-1" = ')
    assert [gpu_map.workers() for _ in range(2)] == [{"GPU-1": "h:1"}] * 2
    assert caplog.text.count("as it was before is still in use") == 1
    file.write_text('"GPU-1" = "h:2"')
    os.utime(file, ns=(1, 1))
    assert gpu_map.workers() == {"GPU-1": "h:2"}
