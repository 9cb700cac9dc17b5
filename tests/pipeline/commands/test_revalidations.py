"""People list what is to be checked again, and answer by hand: on a real Kafka, through the node stage."""

from __future__ import annotations

import asyncio
import getpass
import json

import pytest

from pipeline.cli import main
from tests.docs.test_revalidation import GPU, T, ask, asked, judged, observed, states


@pytest.fixture
def cli(kafka, capsys):
    def run(*args):
        with pytest.raises(SystemExit) as exit:
            main(["revalidations", *args, "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix])
        said = capsys.readouterr()
        return int(exit.value.code or 0), said.out, said.err

    return run


def answers(kafka):
    batches = asyncio.run(observed(kafka)).values()
    return [json.loads(record.value) for batch in batches for record in batch]


def test_an_open_request_is_listed_until_it_is_answered(kafka, cli):
    assert cli("list") == (0, "", "no outputs are to be checked again\n")
    ask(kafka, asked())
    code, out, _ = cli("list")
    head, row = out.splitlines()
    assert code == 0
    assert head.split()[:3] == ["GPU", "node", "detected"]
    assert row.split() == [
        "GPU-1", "n1", "2026-01-05", "09:00:00", "2026-01-05", "09:00:00", "(admission)", "2026-01-05", "09:00:01",
        "confirmed", "open",
    ]  # fmt: skip
    code, _, err = cli("answer", "GPU", "corrupt", "--checked", "812", "--wrong", "3", "--note", "by hand")
    assert (code, err) == (0, "GPU-1 on n1: corrupt\n")
    (said,) = answers(kafka)
    assert said | {"ts": 0} == {
        "ts": 0,
        "cluster": "c1",
        "node": "n1",
        "kind": "revalidated",
        "uuid": GPU,
        "bdf": "0000:18:00",
        "detected": T + 900,
        "end": T + 1000,
        "result": "corrupt",
        "checked": 812,
        "wrong": 3,
        "author": getpass.getuser(),
        "note": "by hand",
    }
    judged(kafka)
    assert states(kafka) == [(T + 1000, "corrupt")]
    assert cli("list")[1] == ""
    assert "corrupt, 3 of 812 wrong, by" in cli("list", "--all")[1]
    line = json.loads(cli("list", "--all", "--json")[1])
    assert (line["state"], line["asked"]["end"], line["answer"]["wrong"]) == ("corrupt", T + 1000, 3)


def test_an_answer_may_be_taken_back(kafka, cli):
    ask(kafka, asked())
    cli("answer", GPU, "unknown", "--author", "ann")
    judged(kafka)
    code, _, err = cli("answer", GPU, "clean")
    assert (code, err.splitlines()[0]) == (2, "error: GPU-1: every request is answered")
    assert cli("answer", GPU, "clean", "--detected", "2026-01-05 09:00:00")[0] == 0
    judged(kafka)
    assert states(kafka) == [(T + 1000, "clean")]


def test_which_one_is_meant_must_be_clear(kafka, cli):
    ask(kafka, asked(), asked(uuid="GPU-12", cause=2), asked(end=T + 9000, detected=T + 8000, cause=3))
    assert "no outputs of GPU-7 were to be checked again" in cli("answer", "GPU-7", "clean")[2]
    assert "GPU may be GPU-1 or GPU-12" in cli("answer", "GPU", "clean")[2]
    _, _, err = cli("answer", GPU, "clean")
    assert err.splitlines() == [
        "error: GPU-1: 2 requests are open",
        '  help: --detected says which one is meant: "2026-01-05 09:00:00", "2026-01-05 09:00:08"',
    ]
    assert "nothing was detected at" in cli("answer", GPU, "clean", "--detected", "2026-01-05")[2]
    assert cli("answer", GPU, "clean", "--detected", str(T + 8000))[0] == 0
    assert [said["end"] for said in answers(kafka)] == [T + 9000]


def test_what_contradicts_itself_is_not_said(kafka, cli):
    ask(kafka, asked())
    code, _, err = cli("answer", GPU, "clean", "--checked", "5", "--wrong", "1")
    assert (code, err.splitlines()[0]) == (2, "error: result clean with 1 wrong outputs")
    assert answers(kafka) == []
