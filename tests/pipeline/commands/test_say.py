"""Operators' words typed without their options: what to type instead is said, before anybody is asked."""

from __future__ import annotations

import pytest

from pipeline.cli import main

UUID = "GPU-34bf77d1-5c0e-4a3f-9a5f-0123456789ab"


@pytest.mark.parametrize(
    ("args", "help"),
    [
        (["drain", UUID], f"gpu-vitals drain --gpu {UUID}"),
        (["undrain", UUID, "--note", "all well"], f"gpu-vitals undrain --gpu {UUID} --note 'all well'"),
        (["restore", "n1/0000:18:00"], "gpu-vitals restore --gpu n1/0000:18:00"),
        (["proceed", UUID[4:]], f"gpu-vitals proceed --gpu {UUID[4:]}"),
        (["maintenance", "n1", "2h"], "gpu-vitals maintenance --node n1 --for 2h"),
        (["override", UUID, "0.5"], f"gpu-vitals override --gpu {UUID} --weight 0.5"),
        (["override", UUID, "--weight", "0"], f"gpu-vitals override --gpu {UUID} --weight 0"),
        (["hold", "all"], "gpu-vitals hold --all"),
        (["hold", "r7"], "gpu-vitals hold --node r7; if it is a rack, --rack r7"),
        (["drain", UUID, "GPU-2"], f"gpu-vitals drain --gpu {UUID}; one command for each"),
    ],
)
def test_a_value_without_its_option(args: list[str], help: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(args)
    out, err = capfd.readouterr()
    assert (exit.value.code, out) == (2, "")
    assert err.splitlines()[1:] == [f"  help: it seems to be for {help}"]


@pytest.mark.parametrize(
    ("action", "ways"),
    [("hold", "--gpu, --node, --rack, --all"), ("drain", "--gpu, --node, --rack"), ("restore", "--gpu, --node")],
)
def test_whom_it_may_be_about(action: str, ways: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([action])
    assert f"help: name one of {ways}; " in capfd.readouterr().err


def test_help_is_shown_whatever_stands_beside_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["drain", UUID, "--help"])
    assert (exit.value.code or 0, capfd.readouterr().out.startswith("Usage: gpu-vitals drain")) == (0, True)
