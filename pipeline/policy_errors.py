"""A policy for a user who may have mistyped it: errors name the file, the line and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from pipeline import policies, toml_errors
from pipeline.errors import UsageProblem, most_similar
from processors.policy import Policy, document_type


def load(name_or_path: str) -> Policy:
    """A profile by name, or a policy file. Raises UsageProblem."""
    try:
        name, text = policies.read(name_or_path)
    except OSError as error:
        similar = most_similar(name_or_path, policies.PROFILES)
        help = f"a profile with a similar name exists: `{similar}`" if similar else ""
        help = help or f"a policy is a TOML file, or one of {', '.join(policies.PROFILES)}"
        raise UsageProblem(f"policy {name_or_path}: {(error.strerror or str(error)).lower()}", help) from None
    except UnicodeDecodeError as error:
        raise UsageProblem(f"policy {name_or_path}: not UTF-8 at byte {error.start}") from None
    file = name_or_path if Path(name_or_path).suffix else f"policy {name_or_path}"
    try:
        return policies.parse(name, text)
    except tomllib.TOMLDecodeError as error:
        raise toml_errors.syntax_problem(file, text, error) from None
    except msgspec.ValidationError as error:
        raise toml_errors.explain(file, text, str(error), document_type()) from None
