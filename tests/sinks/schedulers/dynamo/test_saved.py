"""What was taken out, on disk: one process at a time, and nothing is guessed."""

from __future__ import annotations

import pytest

from sinks.schedulers.dynamo.discovery import Key
from sinks.schedulers.dynamo.saved import CannotRemember, Saved, SavedRecord, SavedUnit

UNIT = SavedUnit(
    place="etcd:1",
    unit="694da21915ab8305",
    records=[SavedRecord(Key("dynamo", "backend", "generate", "694da21915ab8305"), "v1/instances/x", b"\x00{}", 7)],
    gpus=["GPU-1"],
    note="Xid 48",
)


def test_what_was_put_is_there_after_a_restart(tmp_path):
    saved = Saved(tmp_path)
    saved.put(UNIT)
    saved.close()
    again = Saved(tmp_path)
    assert again.of("etcd:1") == {UNIT.unit: UNIT}
    assert again.of("etcd:2") == {}
    again.forget("etcd:1", UNIT.unit)
    again.forget("etcd:1", UNIT.unit)
    again.close()
    last = Saved(tmp_path)
    assert last.of("etcd:1") == {}
    last.close()


def test_one_process_at_a_time(tmp_path):
    saved = Saved(tmp_path)
    with pytest.raises(CannotRemember, match=f"{tmp_path}: another process uses it"):
        Saved(tmp_path)
    saved.close()
    saved.close()
    Saved(tmp_path).close()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "damaged .*: delete it, and restart the worker it is named for"),
        (b'{"v": 2, "place": "p", "unit": "u", "records": []}', "written by a newer gpu-vitals"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(tmp_path, content, why):
    (tmp_path / "694da21915ab8305-0.json").write_bytes(content)
    for _ in range(2):  # the lock is let go
        with pytest.raises(CannotRemember, match=f"{tmp_path}/694da21915ab8305-0.json: {why}"):
            Saved(tmp_path)


def test_a_place_that_is_no_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotRemember, match="file: file exists"):
        Saved(tmp_path / "file")
