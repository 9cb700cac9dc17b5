"""Dead letters are found, shown whole, and tried again where that can help; what cannot is refused with a reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.clock import wall_ms
from pipeline.kafka import wire
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.reading import opened, partitions
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from pipeline.moments import shown
from processors.node import NodeTask
from schemas import frames, records, topics
from schemas.log import Output, Part, Record
from schemas.partitions import partition_of
from schemas.records import DeadLetter, Gpu

T0 = wall_ms() - 3_600_000
GPUS = [Gpu(uuid="GPU-1", bdf="0000:01:00")]
FRAME = frames.encode(frames.build(node="n1", seq=7, gpus=GPUS, ticks=[1_000], columns={150: [50.0]}))
HOME = partition_of("n1", 2)
ELSEWHERE = 1 - HOME
FAULT = records.KernelFault(
    ts=1_000,
    node="n1",
    epoch=5,
    seq=3,
    fault="unparsed",
    raw="NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
)
LETTER = DeadLetter(ts=T0, node="n1", source="observations/0", kind="telemetry", why="odd", data=FRAME)

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(action: str, *args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["dead-letters", action, "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix, *args])
        said = capsys.readouterr()
        return int(exit.value.code or 0), said.out, said.err

    return run


Write = Callable[..., None]


@pytest.fixture
def write(kafka: Kafka, settled: Callable[[Kafka, str], Awaitable[None]]) -> Write:
    """Writes dead letters as a stage does; their ids are 0/0, 0/1, ..."""

    async def commit(letters: Sequence[DeadLetter], part: Part) -> None:
        log = KafkaLog(kafka)
        _, position = await log.restore(part)
        outputs = [
            Output("dead-letter", each.source, "dead-letter", records.encode(each), each.ts, position + at, 0)
            for at, each in enumerate(letters)
        ]
        await log.commit(part, outputs, position + len(outputs))
        await log.close()
        await settled(kafka, topics.DEAD_LETTER)

    def write(*letters: DeadLetter, part: Part = Part("node", "observations", ELSEWHERE)) -> None:  # noqa: B008
        asyncio.run(commit(letters, part))

    return write


def append(kafka: Kafka, topic: str, *entries: Entry) -> None:
    async def run() -> None:
        ingress = KafkaIngress(kafka)
        for entry in entries:
            await ingress.append(topic, [entry])
        await ingress.close()

    asyncio.run(run())


def stored(kafka: Kafka, topic: str) -> list[tuple[int, Record]]:
    async def read() -> list[tuple[int, Record]]:
        places = (await partitions(kafka, topic))[topic]
        async with opened(kafka) as reader:
            spans = await reader.kept(places)
            return [(place.partition, wire.record(each)) async for place, some in reader.read(spans) for each in some]

    return asyncio.run(read())


def replaced(**more: Any) -> DeadLetter:
    import msgspec

    return msgspec.structs.replace(LETTER, **more)


# --- list and show -----------------------------------------------------------------------------------------


def test_listed_and_chosen(cli: Cli, write: Write) -> None:
    assert cli("list") == (0, "", "no dead letters\n")
    write(
        LETTER,
        replaced(
            ts=T0 + 60_000, node="n2", source="observations/1/17", kind="", why="Records of kind '' are not understood"
        ),
        replaced(ts=T0 + 120_000, source="fleet-events/3", kind="condition", why="score 7.0 is not between 0 and 1"),
    )
    code, out, _ = cli("list")
    assert code == 0
    assert [line.split("  ")[0].strip() for line in out.splitlines()] == ["id", "0/0", "0/1", "0/2"]
    partition = ELSEWHERE
    assert out.splitlines()[1].split() == [
        "0/0",
        *shown(T0).split(),
        f"observations/{partition}/0",
        "telemetry",
        "odd",
    ]
    for args, ids in (
        (["--why", "NOT UNDERSTOOD"], ["0/1"]),
        (["--node", "n2"], ["0/1"]),
        (["--source", "observations"], ["0/0", "0/1"]),
        (["--source", "observations/1", "--node", "n2"], ["0/1"]),
        (["--from", str(T0 + 1), "--to", str(T0 + 120_000)], ["0/1"]),
    ):
        assert [json.loads(line)["id"] for line in cli("list", "--json", *args)[1].splitlines()] == ids, args


def test_shown_whole(cli: Cli, write: Write) -> None:
    write(
        LETTER,
        replaced(kind="rumour", data=b"\x00all of it\xff" + b"x" * 9, size=900),
        replaced(kind="x", data=b'{"a":[1]}'),
    )
    _, out, _ = cli("show", "0/0")
    assert "why     odd\n" in out
    assert '"seq": 7' in out, "a frame that can be read is told in JSON"
    _, out, _ = cli("show", "0/1")
    assert "bytes   20 of 900\n" in out
    assert "00000000  00 61 6c 6c 20 6f 66 20 69 74 ff 78 78 78 78 78  .all of it.xxxxx\n00000010  78 78 78 78" in out
    assert '{\n  "a": [\n    1\n  ]\n}' in cli("show", "2")[1]


def test_what_is_no_letter_is_one_about_itself(kafka: Kafka, cli: Cli) -> None:
    append(kafka, "dead-letter", Entry("?", "odd", b"not JSON"))
    assert "no dead letter: JSON is malformed" in cli("list")[1]


@pytest.mark.parametrize("id", ["0/5", "7/0", "99999"])
def test_unknown_id_is_named(cli: Cli, write: Write, id: str) -> None:
    write(LETTER)
    code, _, err = cli("show", id)
    assert (code, err.splitlines()[0]) == (2, f"error: no dead letter {id}")
    assert cli("show", "first")[2].startswith("error: not the id of a dead letter: first")


# --- retry -------------------------------------------------------------------------------------------------


def test_record_with_the_wrong_key_goes_where_its_node_belongs(kafka: Kafka, cli: Cli, write: Write) -> None:
    write(replaced(node="n2", source=f"observations/{ELSEWHERE}/0"))
    code, out, err = cli("retry", "0/0")
    note = f"observations/{HOME}; key n1, was n2; partition {HOME}, was {ELSEWHERE}"
    assert (code, out.splitlines()[0].endswith(f"would go to {note}")) == (0, True)
    assert err == "1 of 1 can be tried again: --yes does it\n"
    assert stored(kafka, topics.OBSERVATIONS) == [], "only said, not done"

    code, out, err = cli("retry", "0/0", "--yes")
    assert (code, err) == (0, "1 of 1 published again\n")
    assert f"is now observations/{HOME}/0; key n1, was n2; partition" in out
    ((partition, record),) = stored(kafka, topics.OBSERVATIONS)
    assert (partition, record.key, record.kind, record.value, record.origin) == (HOME, "n1", "telemetry", FRAME, None)
    assert not [each for each in NodeTask(HOME).step([record]) if each.topic == topics.DEAD_LETTER]


def test_line_that_can_be_parsed_now_becomes_a_fault(kafka: Kafka, cli: Cli, write: Write) -> None:
    append(kafka, "observations", Entry("n1", "kernel", records.encode(FAULT), 1_000))
    ((partition, original),) = stored(kafka, topics.OBSERVATIONS)
    letter = replaced(ts=original.ts, source=f"observations/{partition}/0", kind="kernel", data=FAULT.raw.encode())
    write(letter)
    code, out, _ = cli("retry", "--all", "--yes")
    assert code == 0
    assert "; without its number 5/3; its line is understood now: xid 79" in out
    _, again = stored(kafka, topics.OBSERVATIONS)[-1]
    # Its node has counted on: with its old number the fault would be taken for a double.
    newer = records.KernelFault(ts=2_000, node="n1", epoch=5, seq=9, fault="xid", code=13, bdf="0000:02:00")
    step = NodeTask(HOME).step([Record(0, 2_000, "n1", "kernel", records.encode(newer)), again._replace(offset=1)])
    assert [json.loads(each.value)["code"] for each in step if each.topic == topics.XIDS] == [13, 79]


def test_large_record_is_taken_from_where_it_stood(kafka: Kafka, cli: Cli, write: Write) -> None:
    gone = replaced(ts=T0, data=FRAME[:10], size=len(FRAME), source="observations/0/99")
    append(kafka, "observations", Entry("n2", "telemetry", FRAME, None, ELSEWHERE))
    ((partition, original),) = stored(kafka, topics.OBSERVATIONS)
    there = replaced(ts=original.ts, data=FRAME[:10], size=len(FRAME), source=f"observations/{partition}/0")
    another = replaced(ts=original.ts + 1, data=FRAME[:10], size=len(FRAME), source=f"observations/{partition}/0")
    write(there, gone, another)
    code, out, err = cli("retry", "--all", "--yes")
    assert code == 1
    assert err == "1 of 3 published again\n"
    lines = out.splitlines()
    assert f"is now observations/{HOME}/" in lines[0]
    assert f"refused: observations/0/99 is not kept any more: 10 of {len(FRAME)} bytes are left" in lines[1]
    assert "is not kept any more" in lines[2], "the topic has been made anew: that is another record"
    assert (
        stored(kafka, topics.OBSERVATIONS)[-1][1].value == FRAME
        or stored(kafka, topics.OBSERVATIONS)[0][1].value == FRAME
    )


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        ({"source": "decisions/0/3"}, "what stands on decisions is derived: the stages say it anew where it is due"),
        ({"source": "observations"}, "it never stood on observations: what its sender has kept can be sent anew"),
        ({"kind": "policy", "data": b"{}"}, "a policy counts at its own place in the log: send a new one instead"),
        (
            {"kind": "rumour", "data": b'{"node":"n1"}'},
            "it is still not understood: records of kind 'rumour' are not understood",
        ),
        ({"data": b"\x00"}, "it is still not understood: "),
        ({"kind": "kernel", "data": b"NVRM: Xid"}, "it is still not understood: JSON is malformed"),
        ({"kind": "inventory", "data": b'{"kind":"inventory","ts":1,"gpus":[]}'}, "it names no node"),
        ({"kind": "condition", "source": "fleet-events/0/70"}, "fleet-events/0/70 is not kept any more"),
    ],
)
def test_what_would_not_help_is_refused(
    kafka: Kafka, cli: Cli, write: Write, letter: dict[str, Any], reason: str
) -> None:
    write(replaced(**letter))
    code, out, err = cli("retry", "0/0", "--yes")
    assert code == 1, err
    assert f"  refused: {reason}" in out
    assert stored(kafka, topics.OBSERVATIONS) == []


def test_of_fleet_events_only_what_an_operator_wrote(
    kafka: Kafka, cli: Cli, write: Write, settled: Callable[[Kafka, str], Awaitable[None]]
) -> None:
    word = records.encode(records.Operator(ts=1, node="n1", action="restore", uuid="GPU-1"))
    append(kafka, "fleet-events", Entry("n1", "operator", word, T0))

    async def derive() -> None:
        log, part = KafkaLog(kafka), Part("node", "observations", 0)
        await log.restore(part)
        await log.commit(part, [Output("fleet-events", "n1", "operator", word, T0 + 1, 0, 0)], 1)
        await log.close()
        await settled(kafka, topics.FLEET_EVENTS)

    asyncio.run(derive())
    by_operator = replaced(
        ts=T0, source="fleet-events/0/0", kind="operator", why="restore of an unknown GPU", data=word
    )
    derived = replaced(
        ts=T0 + 1, source="fleet-events/0/1", kind="operator", why="restore of an unknown GPU", data=word
    )
    write(by_operator, derived, part=Part("cluster", "fleet-events"))
    code, out, _ = cli("retry", "--all", "--yes", "--why", "unknown GPU")
    assert code == 1
    assert "is now fleet-events/0/" in out.splitlines()[0]
    assert "refused: the node stage has derived it" in out.splitlines()[1]
    assert [each.value for _, each in stored(kafka, "fleet-events")] == [word] * 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name dead letters, or say --all"),
        (["0/0", "--all"], "name dead letters, or say --all"),
        (["0/0", "--why", "x"], "--from, --to, --node, --why and --source go with --all"),
    ],
)
def test_usage_problems(cli: Cli, args: list[str], message: str) -> None:
    code, _, err = cli("retry", *args)
    assert code == 2
    assert message in err
