from __future__ import annotations

import ctypes
import inspect

import pytest

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


def test_errors_have_the_numbers_and_words_of_the_real_ones() -> None:
    for code, words in double.TEXTS.items():
        assert (str(pynvml.NVMLError(code)), pynvml.NVMLError(code).value) == (words, code)
