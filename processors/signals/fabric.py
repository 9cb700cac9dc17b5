from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counting import LatestLevel
from processors.signal import Out
from schemas.fields import FABRIC_MANAGER_STATUS

Array = npt.NDArray[Any]

FAILURE = 4.0


class Fabric(LatestLevel):
    """The GPU could not join its NVLink fabric (field 170 says failure): CUDA does not start on it.

    Not yet asked, or in progress, is how every boot begins.
    """

    name = "fabric"
    fields = (FABRIC_MANAGER_STATUS,)
    quantity = "fabric_status"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def judge(self, values: Array, policy: Any, out: Out) -> None:
        classes = np.where(values == FAILURE, 2, 0)
        classes[np.isnan(values)] = -1
        out.judge(classes, fabric_status=values)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "the GPU could not join its NVLink fabric: see the log of the Fabric Manager"
