"""Policies as files: the two profiles that come with the product, and TOML files that build on one of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from processors.policy import Policy, from_document, to_change, unit
from processors.signal import discover
from schemas.records import PolicyChange

PROFILES = ("default", "spec", "spec-quirks")


def profile_text(name: str) -> str:
    """The TOML text of a profile that comes with the product."""
    return files("schemas").joinpath(f"policies/{name}.toml").read_text("utf-8")


def read(name_or_path: str) -> tuple[str, str]:
    """(name, TOML text) of a profile or a file. Raises OSError."""
    if name_or_path in PROFILES:
        return name_or_path, profile_text(name_or_path)
    path = Path(name_or_path)
    return path.stem, path.read_text("utf-8")


def parse(name: str, text: str) -> Policy:
    """A policy from TOML: what it does not say is as in its `base` profile ("default" unless it names one).

    Raises tomllib.TOMLDecodeError, msgspec.ValidationError (with the path of the key).
    """
    given = tomllib.loads(text)
    base = given.pop("base", "default")
    if base not in PROFILES or (base == name and name != "default"):
        raise msgspec.ValidationError(f"`base` must be one of {', '.join(PROFILES)} - at `$.base`")
    from_document(name, given)  # an error in the file itself is named by the file's own keys
    under = from_document(name, {}) if base == "default" else load(base)
    return from_document(name, merge(msgspec.to_builtins(under.values), given))


@cache
def load(name_or_path: str) -> Policy:
    """A profile by name, or a policy file. Raises OSError, tomllib.TOMLDecodeError, msgspec.ValidationError."""
    return parse(*read(name_or_path))


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `under`, table by table."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def load_policy(name_or_path: str, ts: int = 0) -> PolicyChange:
    """The record that puts a policy in force. Raises what `load` raises."""
    return to_change(load(name_or_path), ts)


class Row(msgspec.Struct, frozen=True):
    """One key of a policy: its value, what `spec` says, its unit, and the reason for a difference."""

    key: str
    value: Any
    spec: Any
    unit: str
    reason: str


def describe(policy: Policy) -> list[Row]:
    """Every key of `policy` in force."""
    spec = dict(_flat(msgspec.to_builtins(load("spec").values)))
    reasons = {**load("default").values.reasons, **policy.values.reasons}
    rows = []
    for key, value in _flat(msgspec.to_builtins(policy.values)):
        if not key.startswith("reasons."):
            reason = _reason(key, reasons) if value != spec.get(key) else ""
            rows.append(Row(key, value, spec.get(key), _unit(key), reason))
    return rows


def _unit(key: str) -> str:
    """The unit that the key's own name ends in; limits have that of the value they limit."""
    limited = re.match(r"signals\.(\w+)\.limits\.(warning|critical|evict)$", key)
    if limited:
        return next(unit(signal.quantity) for signal in discover() if signal.name == limited[1])
    return unit(key.rpartition(".")[2])


def _reason(key: str, reasons: dict[str, str]) -> str:
    while key:
        if key in reasons:
            return reasons[key]
        key = key.rpartition(".")[0]
    return ""


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
