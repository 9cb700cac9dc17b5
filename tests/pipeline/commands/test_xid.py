"""`gpu-vitals xid`: what people and scripts read from it."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.commands.xid import command

UUID = "GPU-1b2c3d4e-0a1b-2c3d-4e5f-60718293a4b5"
LOG = f"""\
[Sun Feb 23 16:24:17 2025] NVRM: Xid (PCI:0000:9b:00): 31, pid=7, name=early, Ch 00000008
[Sun Feb 23 16:24:18 2025] NVRM: GPU at PCI:0000:9b:00: {UUID}
[Sun Feb 23 16:24:18 2025] nothing of interest
[Sun Feb 23 16:24:19 2025] NVRM: Xid (PCI:0000:9b:00 GPU-I:02): 45, pid=8, Ch 1 caused by previous Xid 31
[Sun Feb 23 16:24:20 2025] NVRM: Xid (PCI:0000:9b
[Sun Feb 23 16:24:21 2025] nvidia-nvswitch1: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up
"""


def run(*args: str, input: str | None = None) -> Result:
    result = CliRunner().invoke(command, list(args), input=input, catch_exceptions=False)
    assert result.exit_code == 0
    return result


def parsed(*args: str, input: str | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("parse", *args, input=input).stdout.splitlines()]


def failure(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as exit:
        main(["xid", *args])
    output = capsys.readouterr()
    assert (exit.value.code, output.out) == (2, "")
    return output.err


def test_parse_prints_each_fault_as_a_line_of_json(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(LOG)
    first, second, third, fourth = parsed(str(log), "--assume-timezone", "UTC")
    assert first == {
        "code": 31,
        "kind": "xid",
        "bdf": "0000:9b:00",
        "gi": None,
        "ci": None,
        "pid": 7,
        "process": "early",
        "message": "Ch 00000008",
        "previous": None,
        "ts": 1740327857000,
        "raw": LOG.splitlines()[0],
    }
    assert (second["uuid"], second["gi"], second["previous"]) == (UUID, 2, 31)
    assert (third["kind"], third["code"], third["raw"]) == ("unparsed", None, LOG.splitlines()[4])
    assert (fourth["severity"], fourth["link"], fourth["switch"]) == ("fatal", 30, 1)


def test_parse_reads_standard_input_and_survives_any_bytes() -> None:
    result = CliRunner().invoke(command, ["parse", "-"], input=b"\xff\xfe\0\n" + LOG.encode() + b"\x80")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4


def test_a_uuid_belongs_to_the_node_that_named_it() -> None:
    fault = "NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus."
    lines = [f"Jan 02 03:04:05 a kernel: NVRM: GPU at PCI:0000:9b:00: {UUID}"]
    lines += [f"Jan 02 03:04:06 {node} kernel: {fault}" for node in "ab"]
    events = parsed("-", input="\n".join(lines))
    assert [(event["node"], event.get("uuid")) for event in events] == [("a", UUID), ("b", None)]


def test_assumptions_about_time_are_stated() -> None:
    assert "read in UTC\n" in run("parse", "-", "--assume-timezone", "UTC", input=LOG).stderr
    assert "this machine's time zone" in run("parse", "-", input=LOG).stderr
    syslog = "Jan 02 03:04:05 a kernel: NVRM: Xid (PCI:0000:9b:00): 79"
    assert "without a year" in run("parse", "-", input=syslog).stderr
    assert run("parse", "-", input="NVRM: Xid (PCI:0000:9b:00): 79").stderr == ""


def test_without_a_zone_the_machine_s_own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "Europe/Berlin")
        time.tzset()
        winter, summer = (
            parsed("-", input=f"[Sun {day} 12:00:00 2025] NVRM: Xid (PCI:0000:9b:00): 79")[0]["ts"]
            for day in ("Jan 05", "Jul 06")
        )
    time.tzset()
    assert (winter, summer) == (1736074800000, 1751796000000)


@pytest.mark.parametrize(
    "boot", ["1000", "1970-01-01T00:16:40+00:00", "1970-01-01 01:16:40+01:00", "1970-01-01T00:16:40"]
)
def test_the_boot_time_places_times_since_boot(boot: str) -> None:
    line = "[    2.500000] NVRM: Xid (PCI:0000:9b:00): 79"
    [event] = parsed("-", "--boot-time", boot, "--assume-timezone", "UTC", input=line)
    assert event["ts"] == 1_002_500
    assert parsed("-", input=line)[0]["ts"] is None


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "missing")
    assert failure(capsys, "parse", missing) == f"error: {missing}: No such file or directory\n"
    assert failure(capsys, "parse", "/proc/self/mem") == "error: /proc/self/mem: Input/output error\n"
    assert failure(capsys, "parse", str(tmp_path)) == f"error: {tmp_path}: Is a directory\n"


def test_a_compressed_file_is_not_silently_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "kern.log.gz"
    log.write_bytes(gzip.compress(LOG.encode()))
    assert "zcat" in failure(capsys, "parse", str(log))


def test_options_that_mean_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such time zone: Mars" in failure(capsys, "parse", "--assume-timezone", "Mars", "-")
    assert "no such time zone: ../x" in failure(capsys, "parse", "--assume-timezone", "../x", "-")
    assert "not a time: soon" in failure(capsys, "parse", "--boot-time", "soon", "-")
    assert "'seventy-nine' is not a valid integer\n" in failure(capsys, "explain", "seventy-nine")
    assert "help: gpu-vitals xid explain 79" in failure(capsys, "79")


def test_explain_tells_people() -> None:
    text = run("explain", "79").stdout
    for words in (
        "Xid 79: GPU fell off the bus",
        "fatal",
        "reboot the node",
        "remove_node",
        "only a reboot",
        "product specification",
    ):
        assert words in text


def test_explain_tells_scripts() -> None:
    assert json.loads(run("explain", "48", "--json").stdout).items() >= {
        ("known", True),
        ("code", 48),
        ("response", "evict"),
        ("corruption", True),
    }


LINK_EVENT = "NETIR_LINK_EVT Nonfatal XC0 i0 Link 03 (0x004505c6 0x00000000)"


def test_explain_tells_what_nvidia_advises_and_of_which_class_it_is() -> None:
    text = run("explain", "31").stdout
    for words in (
        "ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT",
        "critical (application)",
        "A100, H100, B100, GB200",
        "RESTART_APP: restart the application",
        "a policy may demote it",
        "analyzing-xid-catalog.html",
    ):
        assert words in text
    assert "not published" in run("explain", "176").stdout


def test_explain_reads_a_message() -> None:
    text = run("explain", "149", "--message", LINK_EVENT).stdout
    for words in ("this message   evict: ", "decoded: NETIR_LINK_EVT", "layout: before R575", "RESET_GPU", "link: 3"):
        assert words in text
    assert "this message   degrade" in run("explain", "149", "--message", LINK_EVENT, "--driver", "580.1").stdout
    said = json.loads(run("explain", "94", "--json", "--message", "Contained: SM (0x1). RST: Yes, D-RST: No").stdout)
    assert (said["response"], said["message_response"], said["details"]["unit"]) == ("monitor", "evict", "SM")


def test_parse_shows_what_a_message_says() -> None:
    (line,) = parsed("-", input=f"NVRM: Xid (PCI:0000:9b:00): 149, {LINK_EVENT}\n")
    assert line["details"].items() >= {("decoded", "NETIR_LINK_EVT"), ("link", 3), ("action", "RESET_GPU")}


def test_explain_knows_the_faults_of_switches() -> None:
    text = run("explain", "20034").stdout
    for words in (
        "SXid 20034: ",
        "DLPL_LTSSM_FAULT_UP",
        "fatal, of the link",
        "RESET_BY_SCOPE",
        "evict",
        "Fabric Manager",
    ):
        assert words in text
    assert json.loads(run("explain", "11012", "--json", "--message", "Fatal, Link 30").stdout)["response"] == "evict"
    assert json.loads(run("explain", "28006", "--json").stdout)["known"] is False
    assert "not in the catalogue" in run("explain", "28006").stdout


def test_an_unknown_code_says_so() -> None:
    assert "not in the catalogue" in run("explain", "999").stdout
    assert json.loads(run("explain", "999", "--json").stdout)["known"] is False
