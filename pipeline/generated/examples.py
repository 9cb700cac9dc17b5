"""Examples and diagrams inside hand-written pages: what stands behind a mark is made, not typed.

- `<!-- run -->`: the fence of kind `console` in the next line gets the output of its `$ ` lines;
- `<!-- stages -->`: the fence of kind `mermaid` in the next line becomes the diagram of the stages;
- `<!-- view SECONDS LINES -->`: the fence of kind `text` in the next line becomes the upper LINES of the live view;
- `<!-- class FILE -->`: the fence of kind `python` in the next line becomes the first class of that file.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.generated.markdown import fence
from pipeline.generated.still import still
from pipeline.topology import STAGES, Stage

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/agent/*.md", "docs/kafka/*.md")
TIMEOUT_S = 120

_RUN = re.compile(r"(?<=<!-- run -->\n)```console\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_STAGES = re.compile(r"(?<=<!-- stages -->\n)```mermaid\n.*?^```$", re.DOTALL | re.MULTILINE)

_CLASS = re.compile(r"(?P<mark><!-- class (?P<file>\S+) -->\n)```python\n.*?^```$", re.DOTALL | re.MULTILINE)

_VIEW = re.compile(
    r"(?P<mark><!-- view (?P<seconds>\d+) (?P<lines>\d+) -->\n)```text\n.*?^```$", re.DOTALL | re.MULTILINE
)


class ExampleFailed(Exception):
    """An example runs into a bug of ours, which no page shall show as its output."""


def files(root: Path) -> Iterator[tuple[str, str]]:
    """(path, text as it shall be) of every page that may hold marks."""
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), fill(path.read_text("utf-8"), root)


def fill(text: str, root: Path) -> str:
    """`text` with everything behind a mark made anew."""
    text = _STAGES.sub(lambda _: fence("mermaid", stage_diagram()), text)
    text = _VIEW.sub(
        lambda match: match["mark"] + fence("text", still(int(match["seconds"]), int(match["lines"]))), text
    )
    text = _CLASS.sub(lambda match: match["mark"] + fence("python", first_class(root / match["file"])), text)
    return _RUN.sub(lambda match: fence("console", session(match["body"], root)), text)


def session(body: str, root: Path) -> str:
    """The commands of `body` (lines that begin with `$ `), each followed by what it prints in `root`."""
    commands = [line.removeprefix("$ ").rstrip() for line in body.splitlines() if line.startswith("$ ")]
    return "\n".join(f"$ {command}\n{run(command, root)}".rstrip() for command in commands)


def run(command: str, root: Path) -> str:
    """What a shell shows: both outputs; and the exit status where it is not 0. UTC, plain, 100 columns wide.

    Raises ExampleFailed.
    """
    beside = Path(sys.executable).parent
    environment = {
        "PATH": f"{beside}:{os.environ.get('PATH', os.defpath)}",
        "TZ": "UTC",
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PYTHONPATH": str(root),
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
        check=False,
    )
    if b"Traceback (most recent call last)" in done.stdout:
        raise ExampleFailed(f"{command}: ends in a traceback\n{done.stdout.decode()}")
    shown = "\n".join(line.rstrip() for line in done.stdout.decode().rstrip().splitlines())
    return f"{shown}\n[exit status {done.returncode}]".lstrip() if done.returncode else shown


def first_class(file: Path) -> str:
    """The source of the first class in a file."""
    source = file.read_text("utf-8")
    node = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])


def stage_diagram(stages: Sequence[Stage] = STAGES) -> str:
    """Stages (boxes) and topics (rounded), as a Mermaid flow chart."""
    inputs = {stage.input for stage in stages}
    written = list(dict.fromkeys(topic for stage in stages for topic in stage.outputs))
    lines = ["flowchart LR"]
    lines += [f"    sources --> {_topic(name)}" for name in sorted(inputs) if name not in written]
    for stage in stages:
        box = f"stage_{stage.name}[{stage.name} stage]"
        lines.append(f"    {_topic(stage.input)} --> {box} --> {_topics(stage.outputs)}")
    lines.append(f"    {_topics([topic for topic in written if topic not in inputs])} --> sinks")
    return "\n".join(lines)


def _topics(names: Sequence[str]) -> str:
    return " & ".join(map(_topic, names))


def _topic(name: str) -> str:
    return f"{name.replace('-', '_')}([{name}])"
