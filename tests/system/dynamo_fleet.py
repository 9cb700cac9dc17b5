"""A real Dynamo on CPUs: a frontend and two mocker workers, with discovery by files or by etcd, on loopback alone."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNET, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8913, 0x8914, 1
FRONTEND_PORT, ETCD_PORT = 18000, 12379
WORKER_PORTS = (18081, 18082)
GPUS = (("GPU-11", "GPU-12"), ("GPU-21",))  # of each worker
SPECIALS = ("<unk>", "<s>", "</s>")
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]  # how byte-level tokenizers write them
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {text: number for number, text in enumerate([*SPECIALS, *map(chr, BYTES)])},
        "merges": [],
    },
}
MODEL = {
    "tokenizer.json": TOKENIZER,
    "config.json": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "max_position_embeddings": 4096,
        "vocab_size": len(SPECIALS) + len(BYTES),
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    },
}


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a network with nothing but loopback: Dynamo's sockets for events listen on
    every address (1.6.1), whatever DYN_EVENT_PLANE_HOST says. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "a network of its own cannot be made; run the system tests as root")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16sH", b"lo", 0).ljust(40, b"\0")
            flags = struct.unpack_from("16sH", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1] | IFF_UP
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH", b"lo", flags).ljust(40, b"\0"))
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def dynamo_python() -> str:
    """Of the environment that Dynamo is installed in; it is, where it is missing."""
    command = [ROOT / "scripts/install-dynamo", sys.executable]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def eventually(holds, seconds=60.0):
    """What it returns, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@contextmanager
def etcd(directory: Path, *options: str, scheme="http", port=ETCD_PORT) -> Iterator[str]:
    """Its address. What is in the directory stays."""
    address = f"{scheme}://127.0.0.1:{port}"
    command = [
        "etcd",
        "--data-dir",
        str(directory),
        "--listen-client-urls",
        address,
        "--advertise-client-urls",
        address,
    ]
    command += ["--listen-peer-urls", f"http://127.0.0.1:{port + 1}", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: listens(port))
            yield address
        finally:
            process.kill()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Answer(NamedTuple):
    """worker: instance id of who served it, 16 hexadecimal digits. tokens: how many it says that there were."""

    worker: str
    tokens: int
    finish: str


class Stream:
    """A request that is under way. answer: once it has ended."""

    def __init__(self, tokens: int) -> None:
        self.answer: Answer | None = None
        self.workers: list[str] = []
        self._thread = threading.Thread(target=self._run, args=(tokens,))
        self._thread.start()
        eventually(lambda: self.workers)

    def ended(self) -> Answer:
        self._thread.join(120)
        assert self.answer, "the stream broke"
        return self.answer

    def _run(self, tokens: int) -> None:
        finish, used = "", 0
        connection, response = chat(tokens, stream=True)
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if served := (chunk.get("nvext") or {}).get("worker_id"):
                self.workers.append(f"{served['decode_worker_id']:016x}")
            finish = next((choice["finish_reason"] for choice in chunk["choices"] if choice["finish_reason"]), finish)
            used = (chunk.get("usage") or {}).get("completion_tokens", used)
        connection.close()
        self.answer = Answer(self.workers[-1], used, finish)


def chat(tokens: int, stream: bool):
    connection = HTTPConnection("127.0.0.1", FRONTEND_PORT, timeout=120)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": tokens,
        "stream": stream,
        "nvext": {"extra_fields": ["worker_id"]},
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    return connection, connection.getresponse()


class Fleet:
    """discovery: "file" or "etcd". Workers are counted 0 and 1; who has ended may be started again."""

    def __init__(self, directory: Path, discovery: str, etcd_address: str = "") -> None:
        self.directory, self.discovery = directory, discovery
        self.file_kv = directory / "kv"
        self._python = dynamo_python()
        self._environment = os.environ | {
            "DYN_DISCOVERY_BACKEND": discovery,
            "DYN_FILE_KV": str(self.file_kv),
            "ETCD_ENDPOINTS": etcd_address,
            "DYN_REQUEST_PLANE": "tcp",
            "DYN_EVENT_PLANE": "zmq",
            "HF_HUB_OFFLINE": "1",
            **{f"DYN_{part}_HOST": "127.0.0.1" for part in ("TCP_RPC", "TCP_RESPONSE_STREAM", "SYSTEM", "HTTP")},
            "DYN_EVENT_PLANE_HOST": "127.0.0.1",
        }
        (directory / "model").mkdir()
        for name, content in MODEL.items():
            (directory / "model" / name).write_text(json.dumps(content))
        self.processes: dict[object, subprocess.Popen[bytes]] = {}
        for number in range(len(GPUS)):
            self.start_worker(number)
        command = ["-m", "dynamo.frontend", "--discovery-backend", discovery, "--http-port", str(FRONTEND_PORT)]
        self._start("frontend", [*command, "--router-mode", "round-robin", "--migration-limit", "3"])
        eventually(lambda: listens(FRONTEND_PORT))
        eventually(lambda: self.served_by() == {self.instance(number) for number in range(len(GPUS))})

    def start_worker(self, number: int) -> None:
        command = [str(ROOT / "tests/system/dynamo_worker.py"), "--discovery-backend", self.discovery]
        command += ["--model-path", str(self.directory / "model"), "--model-name", "tiny"]
        command += ["--endpoint", "dyn://dynamo.backend.generate", "--speedup-ratio", "0.5"]
        own = {"DYN_SYSTEM_PORT": str(WORKER_PORTS[number]), "GPU_UUIDS": ",".join(GPUS[number])}
        self._start(number, command, own)
        eventually(lambda: self.instance(number))

    def instance(self, number: int) -> str:
        """Of the worker that runs now; empty: it is not there."""
        with suppress(OSError), urlopen(f"http://127.0.0.1:{WORKER_PORTS[number]}/metrics", timeout=60) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("dynamo_component_inflight_requests{") and 'endpoint="generate"' in line:
                    return line.partition('worker_id="')[2].partition('"')[0]
        return ""

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes.pop(number).wait()

    def served_by(self, requests=6) -> set[str]:
        """Who serves new requests now."""
        found = set()
        for _ in range(requests):
            connection, response = chat(1, stream=False)
            content = response.read()
            connection.close()
            if response.status == 200:
                found.add(f"{json.loads(content)['nvext']['worker_id']['decode_worker_id']:016x}")
        return found

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _start(self, name: object, command: list[str], more: dict[str, str] | None = None) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [self._python, *command], env=self._environment | (more or {}), stdout=log, stderr=log
            )
