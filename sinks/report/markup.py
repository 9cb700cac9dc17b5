"""HTML and SVG, element by element. Text is escaped where it goes in: what a record holds can never be markup."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is markup already. Only `tag` and `raw` make it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float) -> Markup:
    """The element `name`. Of the attributes' names a trailing _ falls away and every other _ is a -."""
    told = "".join(f' {_name(key)}="{escape(_value(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{told}>{join(*children)}</{name}>")


def empty(name: str, /, **attributes: str | float) -> Markup:
    """An element of HTML that has no content and no end."""
    return Markup(tag(name, **attributes).removesuffix(f"</{name}>"))


def join(*children: str) -> Markup:
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def raw(text: str) -> Markup:
    """For what is written in our own source, and nowhere else."""
    return Markup(text)


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
