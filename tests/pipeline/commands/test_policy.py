from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pipeline.commands.policy import command
from pipeline.errors import UsageProblem
from pipeline.policies import PROFILES, load


def invoke(*args):
    done = CliRunner().invoke(command, args)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_shown_is_a_policy_file_with_the_same_values(profile, tmp_path):
    shown = tmp_path / "shown.toml"
    shown.write_text(invoke("show", profile))
    assert load(str(shown)).id.partition("@")[2] == load(profile).id.partition("@")[2]


def test_default_says_what_differs_from_the_specification_and_why():
    lines = invoke("show").splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("improve_after_s = 300.0"))
    assert lines[at].endswith("# s; specification: 0.0")
    assert lines[at - 1].startswith("# ")


def test_the_specification_differs_from_itself_in_nothing():
    assert "specification:" not in invoke("show", "spec")


def test_json_holds_every_value():
    shown = json.loads(invoke("show", "spec-quirks", "--json"))
    values = {value["key"]: value for value in shown["values"]}
    assert shown["name"] == "spec-quirks"
    assert values["signals.temperature.limits.warning"]["value"] is None
    assert values["signals.temperature.limits.warning"]["differs"]
    assert values["node.improve_after_s"] == {
        "key": "node.improve_after_s",
        "value": 0.0,
        "unit": "s",
        "specification": 0.0,
        "differs": False,
        "reason": "",
    }


def test_a_sound_file_is_said_to_be_sound(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[node]\nimprove_after_s = 60.0\n")
    assert invoke("check", str(file)).startswith(f"{file}: sound: mine@")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n[signals.temperature]\nenabeld = true\n",
            "{}: line 3: signals.temperature.enabeld: unknown key\n"
            "  help: a key with a similar name exists: `enabled` (default true)",
        ),
        (
            "[node]\nimprove_after_s = '300 s'\n",
            "{}: line 2: node.improve_after_s: expected number, got text\n"
            "  help: `improve_after_s`: seconds, default 300.0",
        ),
        ("[signals.temprature]\n", "{}: line 1: signals.temprature: unknown key\n  help: a key with a similar name"),
        ("[node\n", "{}: line 1: "),
        ('base = "nothing"\n', "{}: line 1: base: base must be one of "),
    ],
)
def test_a_bad_file_is_refused_with_line_and_key(text, expected, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageProblem) as caught:
        invoke("check", str(file))
    assert str(caught.value).startswith(expected.format(file))


def test_a_profile_that_does_not_exist_is_refused():
    with pytest.raises(UsageProblem, match="profile with a similar name exists: `spec`"):
        invoke("show", "spc")
