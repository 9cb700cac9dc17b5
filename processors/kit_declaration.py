"""What a signal declares, checked."""

from __future__ import annotations

import math

import msgspec

from processors.kit_samples import REPORTS
from processors.signal import Signal
from processors.state import Column
from schemas.fields import FIELDS, Kind

BYTES_MAX = 1024  # of state per GPU, for one signal; all of them together shall stay below 2 KB


def check_declaration(signal_class: type[Signal]) -> None:
    """AssertionError tells what is missing or cannot be: name, documentation, fields, columns, policy."""
    name = signal_class.name
    plain = name.isidentifier() and name == name.lower()
    assert plain, f"a name is a lower-case identifier, not {name!r}"
    assert (signal_class.__doc__ or "").strip(), f"{name}: its docstring is its documentation"
    for type_ in signal_class.reads:
        assert type_ in REPORTS, f"{name}: signals are not handed records of type {type_.__name__}"
    for field in signal_class.fields:
        assert field in FIELDS, f"{name}: {field} is no DCGM field that we know (schemas/fields.py)"
        assert FIELDS[field].kind is not Kind.TEXT, f"{name}: {FIELDS[field].name} is text, which frames do not carry"
    assert all(isinstance(column, Column) for column in signal_class.columns.values()), f"{name}: columns are Columns"
    size = sum(column.bytes_per_gpu for column in signal_class.columns.values())
    assert size <= BYTES_MAX, f"{name}: {size} bytes of state per GPU, more than {BYTES_MAX}"

    policy = signal_class.Policy
    assert issubclass(policy, msgspec.Struct), f"{name}: Policy is a msgspec.Struct"
    assert policy.__struct_config__.frozen, f"{name}: Policy is frozen"
    assert policy.__struct_config__.forbid_unknown_fields, f"{name}: Policy forbids unknown fields, for typing errors"
    try:
        values = policy()
    except TypeError as error:
        raise AssertionError(f"{name}: every key of Policy has a default: {error}") from None
    for value in (1.0, math.nan) if signal_class.required else (1.0,):  # NaN: what is required and cannot be told
        for limit in (None, 5.0):
            text = signal_class().text("warning", "value_count", value, "", limit)
            assert isinstance(text, str), f"{name}: text() says it in words, not as {text!r}"
            assert text, f"{name}: text() says something, with a limit or without"
    builtins = msgspec.to_builtins(values)
    assert msgspec.convert(builtins, policy) == values, f"{name}: Policy survives builtins"
    assert msgspec.json.decode(msgspec.json.encode(values), type=policy) == values, f"{name}: Policy survives JSON"
