"""The steps of compose/Dockerfile, done by hand: where no engine is, they still must work as they are written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.compose.stack import COMPOSE, dockerfile

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]  # packages are fetched and built

SIGNS = ["commands", "keygen", "--id", "ops", "--out", "ops.key"]  # needs the package cryptography


def test_the_image_can_be_built_and_runs(tmp_path):
    """Paths of the image become such below tmp_path; the Python is the one that runs this."""
    source, installed = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys._base_executable)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "pip"], check=True, timeout=300)

    def here(text):
        for path in ("/source", "/wheels", "/opt"):
            text = re.sub(rf"(?<=[\s=]){path}\b", f"{tmp_path}{path}", text)
        return text

    stage = dockerfile().split("\nFROM ")[1].replace("\\\n", " ")
    environment = {"PATH": f"{tmp_path}/bin:{tmp_path}/pip/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    for instruction, arguments in re.findall(r"^(ENV|COPY|RUN) (.+)$", stage, re.MULTILINE):
        if instruction == "ENV":
            environment |= dict(each.split("=", 1) for each in here(arguments).split())
        elif instruction == "COPY":
            *sources, target = arguments.split()
            for each in sources:
                place = COMPOSE.parent / each
                if place.is_dir():
                    shutil.copytree(place, source / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(place, source / target)
        else:
            done = subprocess.run(
                ["bash", "-c", here(arguments)],
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
                timeout=1000,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    program = installed / "gpu-vitals" / "bin" / "gpu-vitals"
    for arguments in (["--version"], ["worker", "--help"], ["topics", "plan"], SIGNS):
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert not list(installed.rglob("pip")), "nothing can be installed in it"
