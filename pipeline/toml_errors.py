"""TOML that does not fit its types, explained: file, line, key, and the key that was probably meant.

gpu-vitals.toml: line 3: signals.hbm_gradient.smothing_s: unknown key
  help: a key with a similar name exists: `smoothing_s` (seconds, default 30.0)
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple, TypeVar

import msgspec

from pipeline.errors import UsageProblem, most_similar

T = TypeVar("T")
Path = tuple[str, ...]  # ("signals", "x", "[0]"): keys, and indices in brackets
ANY = "[...]"  # what msgspec writes for a key of a mapping

UNITS = {"_s": "seconds", "_ms": "milliseconds", "_h": "hours", "_c": "degrees C", "_mhz": "MHz", "_w": "W"}
TOML_WORDS = {
    "object": "table",
    "array": "list",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
}


def parse(file: str, text: str, type: type[T]) -> T:
    """The document as `type`. Raises UsageProblem, naming the line and the key."""
    try:
        return msgspec.convert(document(file, text), type)
    except msgspec.ValidationError as error:
        raise explain(file, text, str(error), type) from None


def document(file: str, text: str) -> dict[str, Any]:
    """The bare document. Raises UsageProblem."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise syntax_problem(file, text, error) from None


def syntax_problem(file: str, text: str, error: tomllib.TOMLDecodeError) -> UsageProblem:
    """Not TOML at all. tomllib gives the place only in its message."""
    what = str(error)
    at = re.search(r"\(at line (\d+), column \d+\)", what)
    line = int(at[1]) if at else text.count("\n") + 1
    what = re.sub(r" \(at .*\)$", "", what)
    help = 'a text needs quotes: key = "text"' if what == "Invalid value" else ""
    return UsageProblem(f"{file}: line {line}: {what[:1].lower()}{what[1:]}", help)


def explain(file: str, text: str, message: str, type: Any) -> UsageProblem:
    """What msgspec found wrong (`message`, with its path at the end), placed in the text that was read."""
    what, _, where = message.partition(" - at `$")
    path = tuple(re.findall(r"(?<=\.)[^.\[`]+|\[(?:\d+|\.\.\.)\]", where))
    known = keys_at(type, path)
    help = ""
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        path, what = (*path, unknown[1]), "unknown key"
        if similar := most_similar(unknown[1], known):
            about = known[similar].about
            help = f"a key with a similar name exists: `{similar}`" + (f" ({about})" if about else "")
        elif known:
            help = f"the keys here are {', '.join(known)}"
    else:
        key = keys_at(type, path[:-1]).get(path[-1]) if path else None
        help = f"`{key.name}`: {key.about}" if key and key.about else ""
        what = in_toml_words(what)
    places = locate(text, path)
    if len(places) == 1:  # then the names behind any `[...]` are known
        path = places[0].key + path[len(places[0].key) :]
    lines = " or ".join(str(place.line) for place in places)
    dotted = ".".join(path).replace(".[", "[")
    return UsageProblem(": ".join(part for part in (file, lines and f"line {lines}", dotted, what) if part), help)


def in_toml_words(what: str) -> str:
    """msgspec's "Expected `float | null`, got `str`" for people who write TOML: "expected number, got text"."""

    def words(kinds: re.Match[str]) -> str:
        return " or ".join(TOML_WORDS.get(kind, kind) for kind in kinds[1].split(" | ") if kind != "null")

    return re.sub(r"`([^`]*)`", words, what[:1].lower() + what[1:])


class Key(NamedTuple):
    """A key that a table may have. about: its unit and default, for people."""

    name: str
    about: str


def keys_at(type: Any, path: Path) -> dict[str, Key]:
    """The keys of the table at `path` of a document of `type`; none where it is not a table of fixed keys."""
    from msgspec import inspect  # slow to load, needed only to explain an error

    here: Any = inspect.type_info(type)
    for step in path:
        here = _table(here)
        if isinstance(here, inspect.StructType):
            here = next((field.type for field in here.fields if field.encode_name == step), None)
        elif isinstance(here, inspect.DictType):
            here = here.value_type
        else:
            here = getattr(here, "item_type", None)
    here = _table(here)
    if not isinstance(here, inspect.StructType):
        return {}
    return {field.encode_name: Key(field.encode_name, _about(field)) for field in here.fields}


def _table(found: Any) -> Any:
    """The alternative that has keys or items, of an optional type."""
    for choice in getattr(found, "types", ()):
        if any(hasattr(choice, inside) for inside in ("fields", "value_type", "item_type")):
            return choice
    return found


def _about(field: Any) -> str:
    unit = next((unit for suffix, unit in UNITS.items() if field.name.endswith(suffix)), "")
    default = ""
    if isinstance(field.default, int | float | str):
        written = str(field.default).lower() if isinstance(field.default, bool) else repr(field.default)
        default = f"default {written}"
    return ", ".join(part for part in (unit, default) if part)


class Place(NamedTuple):
    """A key as it stands in a text."""

    key: Path
    line: int


def locate(text: str, path: Path) -> list[Place]:
    """Where `path` is set; if it is not, where its nearest enclosing table is. Several only for `[...]`."""
    places = key_places(text)
    for length in range(len(path), 0, -1):
        wanted = path[:length]
        found = {
            place.key: place
            for place in reversed(places)  # the first mention wins
            if len(place.key) == length and all(b in (a, ANY) for a, b in zip(place.key, wanted, strict=True))
        }
        if found:
            return sorted(found.values(), key=lambda place: place.line)
    return []


_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_PART = re.compile(r"""[ \t]*("(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_BARE = re.compile(r"[^,\]}#\n]*")


def key_places(text: str) -> list[Place]:
    """Every key of a TOML document with the line it stands on (from 1), array items as `[0]`, `[1]`, ..."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.found


class _Scanner:
    """Walks a text that tomllib has accepted, so it need not judge, only keep count of where it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: list[Place] = []
        self.items: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self.skip() < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Path:
        repeated = self.text.startswith("[[", self.at)
        line = self.line()
        self.at += 2 if repeated else 1
        *above, last = self.key()
        path: Path = ()
        for part in above:
            path = (*path, part)
            self.found.append(Place(path, line))
            if path in self.items:  # an array of tables: what follows belongs to its newest item
                path = (*path, f"[{self.items[path]}]")
        path = (*path, last)
        if repeated:
            self.found.append(Place(path, line))
            self.items[path] = self.items.get(path, -1) + 1
            path = (*path, f"[{self.items[path]}]")
        self.found.append(Place(path, line))
        self.at += 2 if repeated else 1
        return path

    def key(self) -> list[str]:
        parts = []
        while match := _PART.match(self.text, self.at):
            part = match[1]
            parts.append(part[1:-1] if part[0] in "\"'" else part)
            self.at = match.end()
            if self.text[self.at] != ".":
                break
            self.at += 1
        return parts

    def pair(self, table: Path) -> None:
        line = self.line()
        path = table
        for part in self.key():
            path = (*path, part)
            self.found.append(Place(path, line))
        self.at += 1  # the equals sign
        self.value(path)

    def value(self, path: Path) -> None:
        self.skip()
        start = self.text[self.at]
        if start == "[":
            self.at += 1
            count = 0
            while self.more("]"):
                self.found.append(Place((*path, f"[{count}]"), self.line()))
                self.value((*path, f"[{count}]"))
                count += 1
        elif start == "{":
            self.at += 1
            while self.more("}"):
                self.pair(path)
        else:
            pattern = _STRING if start in "\"'" else _BARE
            match = pattern.match(self.text, self.at)
            assert match is not None, "tomllib accepted this text"
            self.at = match.end()

    def more(self, end: str) -> bool:
        """Whether another item follows in an array or inline table; steps over its end otherwise."""
        self.skip()
        if self.text[self.at] == ",":
            self.at += 1
            self.skip()
        if self.text[self.at] == end:
            self.at += 1
            return False
        return True

    def skip(self) -> int:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1
