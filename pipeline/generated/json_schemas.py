"""JSON Schemas of all records, one file per record and version: `NAME.vN.schema.json`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from schemas import frames, recording, records

FOLDER = "schemas/json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = re.compile(r"(?P<name>[a-z-]+)\.v(?P<version>[1-9][0-9]*)\.schema\.json")


def kebab(name: str) -> str:
    """`ConditionChange` -> `condition-change`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def record_types() -> dict[str, type[msgspec.Struct]]:
    """Every record by name: all in the unions of `schemas.records`, commands, the frame, and a recording's line."""
    unions = (records.Observed, records.FleetEvent, records.Derived)
    types = {kebab(type_.__name__): type_ for union in unions for type_ in get_args(union)}
    types["command"] = records.Command
    types["telemetry-frame"] = frames.JsonFrame
    types["recording-line"] = recording.Line
    return dict(sorted(types.items()))


def version(type_: type[msgspec.Struct]) -> int:
    """What a record says as `v`; 1 for what carries none."""
    found: int = next((field.default for field in msgspec.structs.fields(type_) if field.name == "v"), 1)
    return found


def file_name(name: str, number: int) -> str:
    return f"{name}.v{number}.schema.json"


def schema(name: str, type_: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one record, with the record's own shape at the top."""
    made = msgspec.json.schema(type_)
    shared: dict[str, Any] = made["$defs"]
    own: dict[str, Any] = shared.pop(made["$ref"].rpartition("/")[2])
    own |= {"$schema": DIALECT, "title": "".join(part.capitalize() for part in name.split("-"))}
    if shared:
        own["$defs"] = shared
    _clean(own)
    return own


def files() -> Iterator[tuple[str, str]]:
    """(path, text) of every schema."""
    for name, type_ in record_types().items():
        text = json.dumps(schema(name, type_), indent=2, sort_keys=True, ensure_ascii=False)
        yield f"{FOLDER}/{file_name(name, version(type_))}", text + "\n"


def _clean(value: Any) -> None:
    """Docstrings without the indentation of the source they stand in."""
    if isinstance(value, dict):
        if isinstance(value.get("description"), str):
            value["description"] = inspect.cleandoc(value["description"])
        for inner in value.values():
            _clean(inner)
    elif isinstance(value, list):
        for inner in value:
            _clean(inner)
