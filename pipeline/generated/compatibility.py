"""May a record change like this without a new version? Old and new run side by side, so both directions count.

Fine: a new optional field; other words in titles and descriptions. Everything else that a reader could notice
needs a new `v`, and with it a schema file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]

_WORDS = {"$schema", "$defs", "title", "description"}
_COMPARED = {"properties", "required", "items", "additionalProperties", "anyOf", "enum", "default"}


def incompatibilities(old: Node, new: Node) -> list[str]:
    """What a reader of `old` cannot take of `new`, or the other way round: one line each, path first."""
    return list(_Comparison(old, new).compare(old, new, "$"))


class _Comparison:
    def __init__(self, old: Node, new: Node) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[Any, Any]] = set()  # pairs of named types that are being compared

    def compare(self, old: Node, new: Node, path: str) -> Iterator[str]:
        pair = old.get("$ref"), new.get("$ref")
        if pair in self._open:
            return
        if any(pair):
            self._open.add(pair)
        old, new = _resolve(old, self._old), _resolve(new, self._new)
        before, after = _facets(old), _facets(new)
        if before != after or {"anyOf", "items"} & (old.keys() ^ new.keys()):
            yield f"{path}: changed from {_brief(old)} to {_brief(new)}"
        else:
            yield from self._parts(old, new, path)
        self._open.discard(pair)

    def _parts(self, old: Node, new: Node, path: str) -> Iterator[str]:
        yield from _values(old, new, path)
        yield from self._fields(old, new, path)
        if "items" in old:
            yield from self.compare(old["items"], new["items"], f"{path}[]")
        others = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(others[0], dict) and isinstance(others[1], dict):
            yield from self.compare(*others, f"{path}.*")
        elif others[0] != others[1]:
            yield f"{path}: fields beside the named ones: changed from {others[0]} to {others[1]}"
        choices = old.get("anyOf", []), new.get("anyOf", [])
        if len(choices[0]) != len(choices[1]):
            yield f"{path}: changed from {_brief(old)} to {_brief(new)}"
        else:
            for one, other in zip(*choices, strict=True):
                yield from self.compare(one, other, path)

    def _fields(self, old: Node, new: Node, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        demanded, demands = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            at = f"{path}.{name}"
            if name not in after:
                yield f"{at}: removed"
                continue
            yield from self.compare(before[name], after[name], at)
            if name in demands - demanded:
                yield f"{at}: required now, so records that leave it out cannot be read any more"
            if name in demanded - demands:
                yield f"{at}: optional now, so readers of today cannot read records that leave it out"
        for name in after.keys() - before.keys():
            if name in demands:
                yield f"{path}.{name}: new and required, so records of today cannot be read any more"


def _values(old: Node, new: Node, path: str) -> Iterator[str]:
    gone = [value for value in old.get("enum", []) if value not in new.get("enum", [])]
    added = [value for value in new.get("enum", []) if value not in old.get("enum", [])]
    if gone:
        yield f"{path}: cannot be {_list(gone)} any more"
    if added:
        yield f"{path}: can be {_list(added)} now, which readers of today do not know"
    if "default" in old and "default" in new and old["default"] != new["default"]:
        yield f"{path}: default changed from {old['default']!r} to {new['default']!r}: left out, it means another"


def _resolve(node: Node, document: Node) -> Node:
    while "$ref" in node:
        target = document["$defs"][node["$ref"].rpartition("/")[2]]
        node = target | {key: value for key, value in node.items() if key != "$ref"}
    return node


def _facets(node: Node) -> Node:
    """What must be equal as it stands: the type and its limits."""
    return {key: value for key, value in node.items() if key not in _WORDS | _COMPARED}


def _brief(node: Node) -> str:
    if "anyOf" in node:
        return " or ".join(_brief(choice) for choice in node["anyOf"])
    if "$ref" in node:
        return str(node["$ref"]).rpartition("/")[2]
    facets = _facets(node)
    kind = str(facets.pop("type", "one of a list" if "enum" in node else "anything"))
    return f"{kind} {facets}" if facets else kind


def _list(values: list[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)
