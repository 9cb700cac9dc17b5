from __future__ import annotations

import pytest

from sinks.explain.names import Known, UnknownGpu, find

GPUS = {
    gpu.key: gpu
    for gpu in (
        Known("GPU-aa11", "n1", "GPU-aa11", "0000:01:00"),
        Known("GPU-aa22", "n1", "GPU-aa22", "0000:02:00"),
        Known("GPU-bb33", "n2", "GPU-bb33", "0000:01:00"),
        Known("n2/0000:01:00", "n2", "", "0000:01:00"),  # said before its UUID was known
        Known("n3/0000:01:00", "n3", "", "0000:01:00"),
    )
}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("GPU-aa11", "GPU-aa11"),
        ("gpu-AA11", "GPU-aa11"),
        ("GPU-aa1", "GPU-aa11"),
        ("aa1", "GPU-aa11"),
        ("GPU-b", "GPU-bb33"),
        ("n1/0000:02:00", "GPU-aa22"),
        ("N1/0000:02:00", "GPU-aa22"),
        (" GPU-aa11\n", "GPU-aa11"),
        ("n3/0000:01:00", "n3/0000:01:00"),
    ],
)
def test_a_gpu_is_found_by_each_of_its_names(name: str, key: str) -> None:
    assert find(name, GPUS).key == key


def test_a_place_whose_gpu_has_a_uuid_by_now_is_that_gpu() -> None:
    assert find("N2/0000:01:00", GPUS).key == "GPU-bb33"


@pytest.mark.parametrize(
    ("name", "text", "help"),
    [
        ("GPU-aa", "GPU-aa may be any of 2 GPUs", "GPU-aa11 (n1/0000:01:00), GPU-aa22 (n1/0000:02:00)"),
        ("GPU-aa12", "no such GPU: GPU-aa12", "a GPU with a similar name exists: GPU-aa22 (n1/0000:02:00)"),
        ("n1/zz", "no such GPU: n1/zz", "on n1 there are GPU-aa11 (n1/0000:01:00), GPU-aa22 (n1/0000:02:00)"),
        ("what", "no such GPU: what", "GPU is a UUID, how one begins, or NODE/BDF, as in GPU-aa11 (n1/0000:01:00)"),
        ("", "no such GPU: ", "GPU is a UUID, how one begins, or NODE/BDF, as in GPU-aa11 (n1/0000:01:00)"),
    ],
)
def test_what_is_not_meant_clearly_is_told_with_what_is_similar(name: str, text: str, help: str) -> None:
    with pytest.raises(UnknownGpu) as raised:
        find(name, GPUS)
    assert (raised.value.text, raised.value.help) == (text, help)


def test_where_no_gpu_is_known_that_is_said() -> None:
    with pytest.raises(UnknownGpu) as raised:
        find("GPU-1", {})
    assert raised.value.help == "no GPU is known there yet"
