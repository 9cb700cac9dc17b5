"""Configuration. Precedence, highest first: flags, environment (`GPU_VITALS_*`), file, defaults.

    # gpu-vitals.toml                     environment
    sources = ["kmsg", "exporter:page"]   GPU_VITALS_SOURCES="kmsg exporter:page"
    policy = "spec"                       GPU_VITALS_POLICY=spec
    data_dir = "/var/lib/gpu-vitals"      GPU_VITALS_DATA_DIR=/var/lib/gpu-vitals
    for_s = 3600                          GPU_VITALS_FOR_S=1h
    listen = "0.0.0.0:9108"               GPU_VITALS_LISTEN=0.0.0.0:9108
    [kafka]
    bootstrap = "kafka-1:9092"            GPU_VITALS_KAFKA_BOOTSTRAP=kafka-1:9092
    [agent]
    spool_dir = "/var/lib/gpu-vitals/a"   GPU_VITALS_AGENT_SPOOL_DIR=/var/lib/gpu-vitals/a
    [commands]
    keys = "/etc/gpu-vitals/keys.toml"    GPU_VITALS_COMMANDS_KEYS=/etc/gpu-vitals/keys.toml
    [tickets]
    to = "file"                           GPU_VITALS_TICKETS_TO=file
    [commander]
    key = "/etc/gpu-vitals/ops.key"       GPU_VITALS_COMMANDER_KEY=/etc/gpu-vitals/ops.key
    [scheduler]
    to = "http"                           GPU_VITALS_SCHEDULER_TO=http

The file is `--config FILE`, else `gpu-vitals.toml` in the working directory if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pipeline import toml_errors
from pipeline.commander.settings import CommanderSettings
from pipeline.errors import UsageProblem, most_similar
from pipeline.kafka.settings import Kafka
from pipeline.node_commands.settings import CommandSettings
from pipeline.schedulers.settings import DynamoSettings, SchedulerSettings, SlurmSettings
from pipeline.spool.settings import AgentSettings
from pipeline.tickets.settings import TicketSettings

FILE = "gpu-vitals.toml"
PREFIX = "GPU_VITALS_"
TABLES: dict[str, type[msgspec.Struct]] = {  # of the file
    "kafka": Kafka,
    "agent": AgentSettings,
    "commands": CommandSettings,
    "tickets": TicketSettings,
    "commander": CommanderSettings,
    "scheduler": SchedulerSettings,
    "slurm": SlurmSettings,
    "dynamo": DynamoSettings,
}
LOOPBACK = "127.0.0.1"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `gpu-vitals run` does. None: not set.

    sources: as given to --source; none: what the machine has. for_s: stop after so many seconds. speed: event
    time of simulated sources against real time. record: file that every stage's input is written to. follow:
    go on reading kernel logs as they grow. json: decisions as JSON lines, also on a terminal. cluster, node:
    what this machine's own sources call it. kafka: how to reach it, for the commands that do. agent: what it keeps.
    commands: what it may do to its node. tickets: where they go. commander: who signs commands to nodes.
    scheduler: whom it asks to take GPUs out. slurm, dynamo: how that is reached, where it is the one.
    """

    sources: list[str] = []
    policy: str = "default"
    data_dir: str | None = None
    for_s: Positive | None = None
    listen: str | None = None
    json: bool = False
    record: str | None = None
    follow: bool = False
    speed: Positive | None = None
    cluster: str = "default"
    node: str | None = None
    kafka: Kafka = Kafka()
    agent: AgentSettings = AgentSettings()
    commands: CommandSettings = CommandSettings()
    tickets: TicketSettings = TicketSettings()
    commander: CommanderSettings = CommanderSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    slurm: SlurmSettings = SlurmSettings()
    dynamo: DynamoSettings = DynamoSettings()


def load(config: str | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings in force. flags: those that were given. Raises UsageProblem, naming file, line and key."""
    merged: dict[str, Any] = {}
    if text := _read(config):
        file = config or FILE
        merged |= _set(toml_errors.parse(file, text, Settings), toml_errors.document(file, text))
    for more in (_from_environment(environment), flags):
        merged |= {**more, **{table: {**merged.get(table, {}), **more.get(table, {})} for table in TABLES}}
    try:
        return msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        raise UsageProblem(f"{path.rstrip('`')}: {toml_errors.in_toml_words(what)}") from None


def parse_duration(text: str) -> float:
    """Seconds: "90", "90s", "1.5h", "500ms". Raises UsageProblem."""
    if match := _DURATION.fullmatch(text.strip()):
        return float(match[1]) * _SECONDS[match[2]]
    raise UsageProblem(f"not a duration: {text}", "a number and ms, s, m, h or d, as in 60s")


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of "9108", ":9108", "0.0.0.0:9108", "[::1]:9108"; loopback unless a host is named."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageProblem(f"not an address to listen on: {text}", "[HOST:]PORT, as in 9108 or 0.0.0.0:9108")
    return host, int(port)


def _read(config: str | None) -> str:
    try:
        return Path(config or FILE).read_text("utf-8")
    except FileNotFoundError:
        if config is None:
            return ""
        raise UsageProblem(f"{config}: no such file") from None
    except OSError as error:
        raise UsageProblem(f"{config or FILE}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{config or FILE}: not UTF-8 at byte {error.start}") from None


def _set(checked: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, as checked; tables within it as what they say."""
    found = {key: getattr(checked, key) for key in document}
    return {key: _set(value, document[key]) if key in TABLES else value for key, value in found.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """What variables say. Others of our prefix are left alone: Kubernetes sets GPU_VITALS_PORT."""
    found: dict[str, Any] = {table: {} for table in TABLES}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or not text:
            continue
        prefix: str = PREFIX
        type_: type[msgspec.Struct] = Settings
        into = found
        for table, of_table in TABLES.items():
            if variable.startswith(f"{PREFIX}{table.upper()}_"):
                prefix, type_, into = f"{PREFIX}{table.upper()}_", of_table, found[table]
        names = {name.upper(): name for name in type_.__struct_fields__ if name not in TABLES}
        said = variable.removeprefix(prefix)
        if said in names:
            into[names[said]] = _from_text(variable, type_, names[said], text)
        elif similar := most_similar(said, names):
            help = f"a variable with a similar name exists: `{prefix}{similar}`"
            raise UsageProblem(f"{variable}: no such setting", help)
    return found


def _from_text(variable: str, type_: type[msgspec.Struct], name: str, text: str) -> Any:
    if name == "sources":
        return text.split()
    if name == "for_s":
        return parse_duration(text)
    expected = next(field.type for field in msgspec.structs.fields(type_) if field.name == name)
    if name == "priorities":
        return text.split()
    try:
        return msgspec.convert(text, expected, strict=False)
    except msgspec.ValidationError as error:
        if "got `str`" not in str(error):
            raise UsageProblem(f"{variable}: {toml_errors.in_toml_words(str(error))}") from None
        words = "true or false" if expected is bool else "a number"
        raise UsageProblem(f"{variable}: expected {words}, not {text}") from None
