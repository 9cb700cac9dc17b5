"""Where a running embedded pipeline listens: a socket that only its own user can open, whatever the path's length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER, SOCKET = "control", "socket"
MESSAGE_BYTES_MAX = 64 << 10


@contextmanager
def short(directory: Path) -> Iterator[str]:
    """A name of the socket for as long as the block runs: its address holds 107 bytes, paths may be longer.

    Raises OSError: the folder is not there.
    """
    folder = os.open(directory / FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


def author(name: str, uid: int) -> str:
    """How one who speaks beside the pipeline is called: the kernel knows who runs the program."""
    return f"{name} (uid {uid})"
