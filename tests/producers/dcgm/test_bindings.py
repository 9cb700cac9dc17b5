from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from producers.dcgm import bindings
from producers.dcgm.engine import Address
from producers.source import SourceError


def test_without_bindings_it_is_said_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(bindings.OVERRIDE, raising=False)
    monkeypatch.setattr(bindings, "DIRECTORIES", (tmp_path,))
    with pytest.raises(SourceError) as error:
        bindings.load()
    assert str(error.value) == (
        "DCGM's Python bindings are not on this machine: install the package datacenter-gpu-manager-4-core (DCGM 3:"
        " datacenter-gpu-manager), or name the directory of the bindings in GPU_VITALS_DCGM_BINDINGS"
    )


def test_dcgm_4_is_taken_before_dcgm_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(bindings.OVERRIDE, raising=False)
    four, three = tmp_path / "4", tmp_path / "3"
    monkeypatch.setattr(bindings, "DIRECTORIES", (four, three))
    three.mkdir()
    (three / "dcgm_agent.py").touch()
    assert bindings.directory() == three
    four.mkdir()
    (four / "dcgm_agent.py").touch()
    assert bindings.directory() == four


def test_a_directory_that_holds_no_bindings_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(bindings.OVERRIDE, str(tmp_path))
    with pytest.raises(SourceError, match=rf"^GPU_VITALS_DCGM_BINDINGS={tmp_path}: there is no dcgm_agent\.py; name"):
        bindings.load()


def test_bindings_that_cannot_be_imported_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dcgm_agent.py").write_text("import this_is_nowhere\n")
    monkeypatch.setenv(bindings.OVERRIDE, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SourceError, match=rf"^{tmp_path}: the bindings cannot be imported: ModuleNotFoundError"):
        bindings.load()


def test_without_the_library_it_is_said_how_to_get_it(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dcgm_structs

    monkeypatch.setattr(dcgm_structs, "LIBRARY", False)
    with pytest.raises(SourceError, match=r"the library libdcgm is not on this machine.*install the package"):
        bindings.load()


def test_the_bindings_hide_no_module_of_ours(double: Any) -> None:
    bindings.load()
    assert sys.path.index(str(bindings.directory())) == len(sys.path) - 1


@pytest.mark.parametrize(
    ("target", "text", "socket", "local"),
    [
        ("", "127.0.0.1:5555", False, True),
        ("localhost", "localhost:5555", False, True),
        ("gpu-node-7:6000", "gpu-node-7:6000", False, False),
        ("10.0.0.7", "10.0.0.7:5555", False, False),
        ("/run/dcgm.sock", "/run/dcgm.sock", True, True),
    ],
)
def test_addresses(target: str, text: str, socket: bool, local: bool) -> None:
    address = Address.parse(target)
    assert (address.text, address.socket, address.local) == (text, socket, local)


@pytest.mark.parametrize("target", ["node:http", "node:0", "node:70000"])
def test_what_is_no_address_is_refused(target: str) -> None:
    with pytest.raises(SourceError, match="one is written HOST:5555 or /PATH/OF/SOCKET"):
        Address.parse(target)
