"""Finds what is added by writing one file: classes in a package of ours, and those of an entry-point group."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any


def named_classes(package: ModuleType, base: type, group: str) -> dict[str, Any]:
    """Every class with a `name` that is a `base`, by name; an entry point of `group` goes before one of ours."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(package.__path__):
        for value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, base) and hasattr(value, "name"):
                found[value.name] = value
    for point in entry_points(group=group):
        loaded = point.load()
        found[loaded.name] = loaded
    return dict(sorted(found.items()))
