"""kcat, as Debian packages it, reads decisions as docs/schedulers.md says."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import decision, publish, tombstone

pytestmark = pytest.mark.system

PAGE = (Path(__file__).resolve().parents[2] / "docs/schedulers.md").read_text("utf-8")


def test_kcat_shows_what_is_committed_with_keys_headers_and_tombstones(kafka: Kafka) -> None:
    asyncio.run(publish(kafka, [decision(1, cause=1), decision(2, 0.0, cause=2)]))
    asyncio.run(publish(kafka, [decision(1, 0.1, cause=3)], commit=False))
    asyncio.run(publish(kafka, [tombstone(2, cause=4)]))
    words = shlex.split(re.search(r"^\$ (kcat .*)$", PAGE, re.MULTILINE)[1])
    words = [word.replace("127.0.0.1:9092", kafka.bootstrap).replace("gpu-vitals.", kafka.prefix) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [
        [decision(1).key, "kind=decision,origin=0/cluster/0/1/0"],
        [decision(2).key, "kind=decision,origin=0/cluster/0/2/0"],
        [decision(2).key, "kind=tombstone,origin=0/cluster/0/4/0"],
    ]
    assert [json.loads(line[2])["weight"] for line in lines[:2]] == [1.0, 0.0]
    assert lines[2][2] == ""
