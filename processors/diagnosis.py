"""What the result of a diagnostic says of a GPU."""

from __future__ import annotations

from typing import NamedTuple

from schemas.health_codes import Verdict, finding
from schemas.records import Diagnostic, DiagnosticTest
from schemas.states import Level

# As DCGM 3 and 4 call them: what fails there has found memory that does not keep what is written to it.
MEMORY_TESTS = ("memory", "memtest", "gpu memory", "memory test")
PROVES_MEMORY = 2  # the first level that tests memory
SETUP = (Verdict.NOTE,)  # the test could not do its work


class Diagnosis(NamedTuple):
    """The graver one of two is the greater. code: DCGM's number of the gravest finding, 0 = none was given."""

    level: Level
    corruption: bool = False
    replace: bool = False
    code: int = 0


def diagnose(told: Diagnostic) -> Diagnosis | None:
    """None: it proves nothing. A test that fails for its set-up alone (persistence mode, no CUDA ...) is a warning."""
    if told.result == "pass":
        return Diagnosis(Level.FINE)
    if told.result == "warn":
        return max([_warned(test) for test in told.tests if test.result == "warn"], default=Diagnosis(Level.WARNING))
    if told.result == "fail":
        return max([_failed(test) for test in told.tests if test.result == "fail"], default=Diagnosis(Level.EVICT))
    return None


def _warned(test: DiagnosticTest) -> Diagnosis:
    return Diagnosis(Level.WARNING, code=test.codes[0] if test.codes else 0)


def _failed(test: DiagnosticTest) -> Diagnosis:
    memory = test.name.lower() in MEMORY_TESTS
    found = []
    for code in test.codes:
        says = finding(code, failed=True)
        level = Level.WARNING if says.verdict in SETUP else Level.EVICT
        corrupt = says.corruption or (memory and level is Level.EVICT)
        found.append(Diagnosis(level, corrupt, says.verdict is Verdict.REPLACE, code))
    return max(found, default=Diagnosis(Level.EVICT, corruption=memory))


def proves_health(told: Diagnostic) -> bool:
    """Whether the GPU is known to be good as of `told.started`."""
    return told.result == "pass" and told.level >= PROVES_MEMORY and told.started > 0
