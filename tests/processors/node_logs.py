"""Names, logs with what is not understood between, and when what is told of a GPU: for tests of the node stage."""

from __future__ import annotations

import json
from collections.abc import Sequence

from processors.testing import START_MS, Observations, Said, gpu
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP
from schemas.log import Record
from schemas.records import Gpu, Score

KEY = gpu("n1").uuid
HOUR = 3600.0
BIG = 2**70
BARE, SLOT = Gpu(uuid=KEY), Gpu(bdf=gpu("n1").bdf)


def moments(said: Said, key: str) -> list[tuple[float, str]]:
    """When the condition of a GPU changed, in seconds, and to what."""
    changes: list[tuple[float, str]] = []
    for score in said.scores:
        if (score.uuid or f"{score.node}/{score.bdf}") == key:
            new = ((score.ts - START_MS) / 1000, score.condition.value)
            if not changes or changes[-1][1] != new[1]:
                changes.append(new)
    return changes


def newest(said: Said, key: str = KEY) -> Score:
    return said.latest[key]


BAD: dict[str, tuple[str, bytes]] = {
    "no kind": ("", b"{}"),
    "unknown kind": ("weather", b"{}"),
    "no telemetry": ("telemetry", b"\xff\xfe"),
    "JSON for msgpack": ("telemetry", b'{"node":"n1"}'),
    "deep telemetry": ("telemetry", b"\x82\xa4node\xa2n1\xa1x" + b"\x91" * 50_000),
    "no JSON": ("kernel", b"Xid"),
    "half a record": ("kernel", b'{"kind":"kernel","ts":17672'),
    "no UTF-8": ("kernel", b'{"kind":"kernel","ts":1,"node":"n1","fault":"\xff"}'),
    "wrong type": ("kernel", b'{"kind":"kernel","ts":"yesterday","node":"n1","fault":"xid"}'),
    "deep JSON": ("inventory", b'{"kind":"inventory","ts":1,"node":"n1","x":' + b"[" * 50_000),
    "another kind inside": ("kernel", b'{"kind":"tick","ts":1}'),
    "a fault of an unknown sort": (
        "kernel",
        b'{"kind":"kernel","ts":1,"node":"n1","fault":"unparsed","raw":"NVRM: ?"}',
    ),
    "an Xid without a code": ("kernel", b'{"kind":"kernel","ts":1,"node":"n1","fault":"xid","uuid":"GPU-n1-0"}'),
    "a code that is none": (
        "kernel",
        b'{"kind":"kernel","ts":1,"node":"n1","fault":"xid","uuid":"GPU-n1-0","code":-4}',
    ),
    "a policy that is none": ("policy", b'{"kind":"policy","ts":1,"id":"x","document":{"nodes":{}}}'),
    "a policy of wrong types": (
        "policy",
        b'{"kind":"policy","ts":1,"id":"x","document":{"node":{"coalesce_s":"5 s"}}}',
    ),
    "a policy out of range": ("policy", b'{"kind":"policy","ts":1,"id":"x","document":{"node":{"rates_every_s":0}}}'),
    "a GPU without a name": ("inventory", b'{"kind":"inventory","ts":1,"node":"n1","gpus":[{"uuid":""}]}'),
    "a GPU twice": ("inventory", b'{"kind":"inventory","ts":1,"node":"n1","gpus":[{"uuid":"a"},{"uuid":"a"}]}'),
    **{
        f"{field} beyond all numbers": (
            "kernel",
            json.dumps(
                {"kind": "kernel", "ts": 1, "node": "n1", "fault": "xid", "uuid": "GPU-n1-0", "code": 94, field: number}
            ).encode(),
        )
        for field in ("ts", "epoch", "seq", "code", "pid", "gi", "recovery_action")
        for number in (BIG, -BIG)
    },
}


def good(bad: Sequence[tuple[int, str, bytes]] = ()) -> list[Record]:
    """Two nodes, one of which gets worse and better, with other records between."""
    log = Observations()
    for second in range(1, 36):
        for at, kind, value in bad:
            if at == second:
                log.add(second - 0.5, "n1", kind, value)
        log.frame("n1", second, {GPU_TEMP: [50, 86 if second == 20 else 50], ECC_SBE_VOLATILE: [second, 0]})
        log.frame("n2", second, {GPU_TEMP: 50})
        if second == 25:
            log.fault("n2", second, 31)
    return log.tick(50.0).records
