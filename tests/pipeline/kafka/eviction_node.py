"""A `gpu-vitals` command on a node that believes in two GPUs, which its driver, NVML and tools all show.

    python -m tests.pipeline.kafka.eviction_node DIRECTORY agent --source nvml ...

They are in good health; what ails them the kernel's log says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.cli import main
from tests.producers.commands.standins import BDF, OTHER, OTHER_BDF, UUID, Machine
from tests.producers.commands.test_diagnose import DCGMI, DISCOVERY, TESTS, dcgm4
from tests.producers.nvml import double

NODE = "n1"
TOOLS_TAKE_S = "0.7"  # long enough to die in the middle
COUNTED = (3, 4, 5, 6, 38, 52, 59, 142, 143, 144, 145)  # NVML's fields of errors, but for those of links


def machine(directory: Path) -> Machine:
    """The machine, with a host engine that runs and a diagnostic that passes."""
    made = Machine(directory)
    made.programs = made.programs._replace(dcgmi=made.program("dcgmi", DCGMI))
    made.say("discovery", DISCOVERY)
    made.say("diag", json.dumps(dcgm4(dict.fromkeys(TESTS, "Pass"))))
    made.say("takes_s", TOOLS_TAKE_S)
    made.say("diag-takes_s", TOOLS_TAKE_S)
    return made


def library() -> double.Nvml:
    """NVML, which has nothing bad to say."""
    made = double.Nvml(2)
    made.c_nvmlFieldValue_t = double._FieldValue  # type: ignore[attr-defined]
    for gpu, (uuid, bdf) in zip(made.gpus, [(UUID, BDF), (OTHER, OTHER_BDF)], strict=True):
        gpu.uuid, gpu.bus = uuid, f"0000{bdf}.0"
        gpu.told |= {
            "RemappedRows": (0, 0, 0, 0),
            "RowRemapperHistogram": double._Banks(640, 0, 0, 0, 0),
            "SramThreshold": 0,
            "PcieReplayCounter": 0,
            "PcieLink": {"MaxGeneration": 5, "MaxWidth": 16, "CurrGeneration": 5, "CurrWidth": 16},
        }
        gpu.values |= dict.fromkeys(COUNTED, (double.ULL, 0))
        gpu.values |= {(163, link): (double.ULL, 0) for link in range(double.LINKS)}
    return made


if __name__ == "__main__":
    machine(Path(sys.argv.pop(1))).use()
    sys.modules["pynvml"] = library()  # type: ignore[assignment]
    main()
