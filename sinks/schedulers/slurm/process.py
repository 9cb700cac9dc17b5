"""A command of Slurm's under our deadline. It may hang where slurmctld does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from sinks.schedulers.adapter import Away

WORDS_MAX = 300
# Users set these to see less, or otherwise, than there is; what we parse must not depend on them.
MEDDLING = ("SLURM_", "SQUEUE_", "SCONTROL_", "SCANCEL_")


class Ran(NamedTuple):
    status: int
    output: str
    errors: str

    @property
    def words(self) -> str:
        """What it says about its failure, on one line."""
        said = "; ".join(line.strip() for line in (self.errors.strip() or self.output).splitlines() if line.strip())
        return said[:WORDS_MAX] or f"exit status {self.status}"


def environment(base: Mapping[str, str], conf: str) -> dict[str, str]:
    """conf: slurm.conf; "": where the commands look for it themselves."""
    kept = {name: value for name, value in base.items() if not name.startswith(MEDDLING)}
    if conf := conf or base.get("SLURM_CONF", ""):
        kept["SLURM_CONF"] = conf
    return {**kept, "LC_ALL": "C"}


async def run(command: Sequence[str], env: Mapping[str, str], deadline_s: float) -> Ran:
    """Raises Away: it is not there, or was not done in time and is killed."""
    program = os.path.basename(command[0])
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Away(f"{command[0]}: {why}; Slurm's commands are needed here (slurm-client)") from None
    try:
        async with asyncio.timeout(deadline_s):
            output, errors = await process.communicate()
    except TimeoutError:
        raise Away(f"{program}: no answer within {deadline_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Ran(process.returncode or 0, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))
