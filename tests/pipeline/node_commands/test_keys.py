"""Files of keys: who may open them, what they hold, and what is said where that is wrong."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageProblem
from pipeline.node_commands.keys import PrivateKey, private_key, public_keys, public_stanza, write_private
from pipeline.node_commands.mode import mode
from pipeline.node_commands.settings import CommandSettings
from schemas.signing import public_half

PRIVATE = bytes(range(32))
PUBLIC = public_half(PRIVATE)


def written(path, text, permissions=0o644):
    path.write_text(text)
    path.chmod(permissions)
    return str(path)


def test_a_key_that_was_written_is_read_again_and_only_by_its_owner(tmp_path):
    path = tmp_path / "ops.key"
    write_private(str(path), PrivateKey("ops", PRIVATE))
    assert path.stat().st_mode & 0o777 == 0o600
    assert private_key(str(path)) == ("ops", PRIVATE)
    with pytest.raises(UsageProblem, match="not overwritten"):
        write_private(str(path), PrivateKey("ops", PRIVATE))


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o660, 0o610])
def test_a_private_key_that_others_may_open_is_refused(tmp_path, permissions):
    path = tmp_path / "ops.key"
    write_private(str(path), PrivateKey("ops", PRIVATE))
    path.chmod(permissions)
    with pytest.raises(UsageProblem, match="others than its owner") as caught:
        private_key(str(path))
    assert caught.value.help == f"chmod 600 {path}"


def test_several_public_keys_and_when_they_end(tmp_path):
    text = public_stanza("old", PUBLIC) + "expires = 2026-01-01T00:00:00Z\n" + public_stanza("new", PUBLIC)
    found = public_keys(written(tmp_path / "keys.toml", text))
    assert found == {"old": (PUBLIC, 1_767_225_600_000), "new": (PUBLIC, None)}


@pytest.mark.parametrize(
    ("text", "permissions", "words"),
    [
        ("", 0o644, "holds no key"),
        (public_stanza("k", PUBLIC), 0o664, "others may write to it"),
        (public_stanza("k", PUBLIC), 0o646, "others may write to it"),
        ('[keys.k]\npublic = "AAAA"\n', 0o644, "keys.k.public: not 32 bytes in base64"),
        ('[keys.k]\npublic = "?"\n', 0o644, "keys.k.public: not 32 bytes"),
        (public_stanza("k", PUBLIC) + "expires = 2026-01-01T00:00:00\n", 0o644, "names no time zone"),
        ("[keys.k]\npublik = 1\n", 0o644, "publik"),
    ],
)
def test_a_file_that_is_wrong_says_what_and_where(tmp_path, text, permissions, words):
    path = written(tmp_path / "keys.toml", text, permissions)
    with pytest.raises(UsageProblem, match=words) as caught:
        public_keys(path)
    assert caught.value.text.startswith(path)


def test_commands_are_done_only_where_that_is_said_and_a_key_is_there(tmp_path):
    path = written(tmp_path / "keys.toml", public_stanza("ops", PUBLIC))
    assert mode(CommandSettings()).words == "refused: no public key is known here"
    assert mode(CommandSettings(keys=path))[::2] == (False, "dry run: verified and answered, never done")
    assert mode(CommandSettings(keys=path, enabled=True))[::2] == (True, "done, when signed by ops")
    with pytest.raises(UsageProblem, match=r"needs commands\.keys"):
        mode(CommandSettings(enabled=True))
    with pytest.raises(UsageProblem, match="no such file"):
        mode(CommandSettings(enabled=True, keys=str(tmp_path / "none")))
