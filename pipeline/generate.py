"""Writes what is made from the code and committed: `python -m pipeline.generate`; with --check it only compares.

A record's schema that changed incompatibly is never overwritten: raise the record's `v`, which gives it a new
file, and keep the old one for as long as such records are read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.generated import examples, json_schemas, reference
from pipeline.generated.compatibility import incompatibilities

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 all is as it shall be; 1 a file differs, a record changed incompatibly, an example fails."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something would change")
    check = parser.parse_args(arguments).check
    schemas = dict(json_schemas.files())
    problems = broken(schemas, ROOT)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems and not check:
        return 1  # nothing that rests on the schemas is written either
    try:
        made = {**schemas, **dict(reference.files()), **dict(examples.files(ROOT))}
    except examples.ExampleFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    different = stale(made, ROOT)
    for path in different:
        if check:
            print(f"{path}: is not what the code says\n  help: `make generate` writes it anew", file=sys.stderr)
        else:
            write(ROOT / path, made[path])
            print(f"{path}: written")
    return 1 if problems or (check and different) else 0


def stale(made: Mapping[str, str], root: Path) -> list[str]:
    """The paths whose file is missing or differs."""
    return [path for path, text in made.items() if _read(root / path) != text]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def broken(schemas: Mapping[str, str], root: Path) -> list[str]:
    """What is wrong with the change from the committed schemas to `schemas`, in words."""
    problems: list[str] = []
    versions: dict[str, int] = {}
    for path, text in schemas.items():
        name, version = _parts(path)
        versions[name] = version
        committed = _read(root / path)
        if committed is not None:
            found = incompatibilities(json.loads(committed), json.loads(text))
            problems += _explained(path, found, version)
    for file in sorted((root / json_schemas.FOLDER).glob("*.json")):
        problems += _left_over(file.relative_to(root).as_posix(), versions)
    return problems


def _explained(path: str, found: Iterable[str], version: int) -> list[str]:
    help = f"raise the record's `v` to {version + 1}, keep this file, and tell users in CHANGELOG.md"
    return [f"{path}: incompatible without a new version: {what}\n  help: {help}" for what in found]


def _left_over(path: str, versions: Mapping[str, int]) -> list[str]:
    """A committed schema that no record of the code has, or had."""
    name, version = _parts(path)
    if name not in versions:
        return [f"{path}: there is no such record any more\n  help: delete the file, and tell users in CHANGELOG.md"]
    if version > versions[name]:
        return [f"{path}: the code is at version {versions[name]}\n  help: a record's `v` never falls"]
    return []


def _parts(path: str) -> tuple[str, int]:
    match = json_schemas.FILE.fullmatch(path.rpartition("/")[2])
    return (match["name"], int(match["version"])) if match else (path, 0)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
