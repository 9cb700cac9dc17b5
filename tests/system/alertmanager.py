"""A real Alertmanager, as Debian packages it, for as long as a test runs."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import contextmanager
from urllib.request import Request, urlopen


@contextmanager
def running(config, directory):
    """Its address. config: a file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        base = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: ready(base))
            yield base
        finally:
            process.terminate()


def ready(base):
    try:
        with urlopen(f"{base}/-/ready", timeout=60) as answer:
            return answer.status == 200
    except OSError:
        return False


def eventually(holds):
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def asked(base, path, body=None):
    """What it answers, decoded; None: nothing."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{base}/api/v2/{path}", data, {"Content-Type": "application/json"}), timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None
