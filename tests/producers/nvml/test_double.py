from __future__ import annotations

import ctypes
import inspect
import sys

import pytest

from producers.nvml.reader import FIELD_VALUE
from tests.producers.nvml import double

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

FUNCTIONS = [name for name, value in vars(double.Nvml).items() if name.startswith("nvml") and callable(value)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_the_signature_of_the_real_one(name: str) -> None:
    real = inspect.signature(inspect.unwrap(getattr(pynvml, name)))
    ours = inspect.signature(getattr(double.Nvml(0), name))
    assert [(one.name, one.default) for one in ours.parameters.values()] == [
        (one.name, one.default) for one in real.parameters.values()
    ]


@pytest.mark.parametrize(
    ("ours", "real"),
    [(double._FieldValue, "c_nvmlFieldValue_t"), (double._EventData, "c_nvmlEventData_t")],
)
def test_each_struct_is_laid_out_as_the_real_one(ours: type[ctypes.Structure], real: str) -> None:
    theirs = getattr(pynvml, real)
    assert [name for name, _ in ours._fields_] == [name for name, _ in theirs._fields_]
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)


def test_the_values_of_a_batch_are_unpacked_where_the_real_struct_has_them() -> None:
    value = pynvml.c_nvmlFieldValue_t()
    value.fieldId, value.scopeId, value.timestamp, value.latencyUsec = 163, 17, 1, 2
    value.valueType, value.nvmlReturn, value.value.ullVal = 3, 4, 2**40
    assert FIELD_VALUE.unpack(value) == (163, 17, 1, 2, 3, 4, (2**40).to_bytes(8, sys.byteorder))


def test_errors_have_the_numbers_and_words_of_the_real_ones() -> None:
    for code, words in double.TEXTS.items():
        assert (str(pynvml.NVMLError(code)), pynvml.NVMLError(code).value) == (words, code)
