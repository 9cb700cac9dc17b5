"""`nvidia-smi nvlink --status`, as machines print it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.nvlink_status import GpuStatus, parse

A = "GPU-00000000-0000-4000-8000-00000000000a"
B = "GPU-00000000-0000-4000-8000-00000000000b"
H100 = "NVIDIA H100 80GB HBM3"


def status(uuid: str, links: list[str]) -> GpuStatus:
    return GpuStatus(uuid, links, H100)


def gpu(uuid: str, *states: str, number: int = 0, model: str = H100, first: int = 0) -> str:
    lines = [f"GPU {number}: {model} (UUID: {uuid})"]
    lines += [f"\t Link {link}: {state}" for link, state in enumerate(states, first)]
    return "\n".join(lines) + "\n"


def test_a_rate_is_up_and_inactive_is_down() -> None:
    text = gpu(A, "26.562 GB/s", "<inactive>", "50 GB/s") + gpu(B, *["25.781 GB/s"] * 18, number=1)
    assert parse(text) == ([status(A, ["up", "down", "up"]), status(B, ["up"] * 18)], [])


@pytest.mark.parametrize(
    "said",
    [
        " NVML: Unable to retrieve NVLink information as all links are inActive",
        "\n NVML: Unable to retrieve NVLink information as all links are inActive",
        "\n\t NVML: Device does not have or support Nvlink",
    ],
)
def test_a_gpu_with_no_link_up_says_so_in_words(said: str) -> None:
    assert parse(gpu(A).rstrip() + said + "\n" + gpu(B, "50 GB/s", number=1)).gpus == [
        status(A, []),
        status(B, ["up"]),
    ]


def test_of_a_gpu_of_which_nothing_is_said_nothing_is_told() -> None:
    assert parse(gpu(A) + gpu(B, "50 GB/s")) == ([status(B, ["up"])], [f"nothing is said of the links of {A}"])


def test_a_state_that_nobody_knows_is_unknown() -> None:
    assert parse(gpu(A, "50 GB/s", "dreaming")) == (
        [status(A, ["up", "unknown"])],
        [f"unknown states among the links of {A}"],
    )


def test_links_without_a_gpu_are_nobodys() -> None:
    found = parse(gpu(A, "50 GB/s") + "GPU 1: Fixture\n Link 0: <inactive>\n")
    assert found == ([status(A, ["up"])], ["a GPU without a UUID: 'GPU 1: Fixture'"])


def test_a_number_that_is_left_out_is_no_link() -> None:
    assert parse(gpu(A, "50 GB/s", first=2)).gpus == [status(A, ["unsupported", "unsupported", "up"])]


@given(st.text())
def test_any_text_can_be_parsed(text: str) -> None:
    parse(text)


@given(st.text(alphabet="GPUinkL 0123:<>()-ave/sB\n\tUID", max_size=200), st.integers(0, 18))
def test_nothing_valid_is_lost_beside_what_is_not(noise: str, up: int) -> None:
    states = ["50 GB/s"] * up + ["<inactive>"] * (18 - up)
    found = parse(f"{noise}\n{gpu(A, *states)}\nGPU 9: {noise}")
    assert status(A, ["up"] * up + ["down"] * (18 - up)) in found.gpus
