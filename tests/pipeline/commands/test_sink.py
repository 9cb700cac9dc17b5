from __future__ import annotations

import pytest

from pipeline.cli import main


def complaint(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        main(["sink", *args])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["webhook"],
            "error: webhook needs --url\n  help: --url https://HOST/PATH\n",
        ),
        (
            ["webhook", "--url", "file:///etc/passwd"],
            "error: --url: not a URL to POST to: file:///etc/passwd\n  help: http://HOST/PATH or https://HOST/PATH\n",
        ),
        (
            ["webhook", "--url", "http://127.0.0.1:99999/"],
            "error: --url: not a URL to POST to: http://127.0.0.1:99999/\n"
            "  help: http://HOST/PATH or https://HOST/PATH\n",
        ),
        (
            ["webhook", "--url", "http://127.0.0.1/", "--token-file", "/nowhere/token"],
            "error: --token-file: /nowhere/token: No such file or directory\n",
        ),
        (
            ["decisions", "--url", "http://127.0.0.1/"],
            "error: --url does not go with decisions\n  help: only `gpu-vitals sink webhook` takes it\n",
        ),
        (
            ["tickets"],
            'error: tickets.to: missing\n  help: to = "file", or another place, in the table [tickets]\n',
        ),
        (
            ["commander", "--changes-only"],
            "error: --changes-only does not go with commander\n  help: only `gpu-vitals sink webhook` takes it\n",
        ),
        (
            ["scheduler"],
            'error: scheduler.to: missing\n  help: to = "http", or another one, in the table [scheduler]\n',
        ),
        (
            ["metrics", "--listen", "nowhere"],
            "error: not an address to listen on: nowhere\n  help: [HOST:]PORT, as in 9108 or 0.0.0.0:9108\n",
        ),
    ],
)
def test_what_cannot_be_done_is_said_with_how_to_mend_it(capsys, args, expected):
    assert complaint(capsys, *args) == expected


def test_a_sink_that_does_not_exist_is_named_with_those_that_do(capsys):
    said = complaint(capsys, "metric")
    assert "metric" in said
    assert "'webhook'" in said
