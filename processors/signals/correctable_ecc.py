from __future__ import annotations

import msgspec

from processors.counting import CounterRate
from processors.windows import RateWindow
from schemas.fields import ECC_SBE_VOLATILE
from schemas.policy import Thresholds
from schemas.states import Family


class CorrectableEcc(CounterRate):
    """Correctable memory errors per hour: single ones are normal, a high rate precedes uncorrectable ones.

    The window moves in steps of two minutes: what is older than 58 minutes may have left it. Limits: product
    specification, section 3. The aggregate counter (312) tells the same errors without their time: what it grew by
    while nobody looked is no rate.
    """

    name = "correctable_ecc"
    family = Family.MEMORY
    fields = (ECC_SBE_VOLATILE,)
    window = RateWindow("errors", slots=30, slot_s=120, dtype="u2")
    quantity = "errors_per_hour"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=10.0, critical=100.0, evict=1000.0)  # errors per hour
