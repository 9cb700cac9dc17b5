"""Keys on disk. Public ones on each node; a private one only where commands are issued.

[keys.ops-2026]                      # a file may hold several: the next one before the last one ends
public = "base64 of 32 bytes"
expires = 2027-01-01T00:00:00Z       # optional
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline import toml_errors
from pipeline.errors import UsageProblem
from schemas.commands import KEY_BYTES, Keys, PublicKey

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


class _Public(msgspec.Struct, forbid_unknown_fields=True):
    public: str
    expires: datetime | None = None


class _PublicFile(msgspec.Struct, forbid_unknown_fields=True):
    keys: dict[str, _Public] = {}


class _PrivateFile(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    private: str


class PrivateKey(NamedTuple):
    id: str
    private: bytes


def public_keys(path: str) -> Keys:
    """The keys in a file that nobody but its owner may write to. Raises UsageProblem."""
    text = _read(path, OTHERS_MAY_WRITE, "others may write to it, and so command this node", "chmod go-w")
    found = {}
    for id_, key in toml_errors.parse(path, text, _PublicFile).keys.items():
        if key.expires is not None and key.expires.tzinfo is None:
            raise UsageProblem(f"{path}: keys.{id_}.expires: names no time zone", "end it with Z")
        expires = None if key.expires is None else int(key.expires.timestamp() * 1000)
        found[id_] = PublicKey(_bytes(path, f"keys.{id_}.public", key.public), expires)
    if not found:
        raise UsageProblem(f"{path}: holds no key", "`gpu-vitals commands keygen` makes one")
    return found


def private_key(path: str) -> PrivateKey:
    """The key in a file that nobody but its owner may even read. Raises UsageProblem."""
    text = _read(path, OTHERS_MAY, "others than its owner may open this private key", "chmod 600")
    found = toml_errors.parse(path, text, _PrivateFile)
    return PrivateKey(found.id, _bytes(path, "private", found.private))


def write_private(path: str, key: PrivateKey) -> None:
    """A new file of mode 0600. Raises UsageProblem: there is one already, or it cannot be made."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageProblem(
            f"{path}: there is such a file already", "name another one: keys are not overwritten"
        ) from None
    except OSError as error:
        raise UsageProblem(f"{path}: {(error.strerror or str(error)).lower()}") from None
    with open(file, "w") as out:
        out.write(f'id = "{key.id}"\nprivate = "{base64.b64encode(key.private).decode()}"\n')
        out.flush()
        os.fsync(file)


def public_stanza(id_: str, public: bytes) -> str:
    """What goes into the file of public keys."""
    return f'[keys.{id_}]\npublic = "{base64.b64encode(public).decode()}"\n'


def _read(path: str, forbidden: int, why: str, mend: str) -> str:
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & forbidden:
                raise UsageProblem(f"{path}: {why}", f"{mend} {path}")
            return file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise UsageProblem(f"{path}: not UTF-8") from None
    except OSError as error:
        raise UsageProblem(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _bytes(path: str, key: str, text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != KEY_BYTES:
        raise UsageProblem(f"{path}: {key}: not {KEY_BYTES} bytes in base64", "copy the line that keygen printed")
    return found
