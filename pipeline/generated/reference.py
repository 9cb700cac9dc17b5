"""The pages under docs/reference: each is what the code declares, in words and tables."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, get_args

import click
import msgspec
from prometheus_client.registry import Collector

from pipeline import policies
from pipeline.cli import cli
from pipeline.generated import fault_pages, json_schemas
from pipeline.generated.incident_page import incidents
from pipeline.generated.markdown import code, fence, page, prose, table
from pipeline.topology import STAGES
from processors import case_table
from processors.policy import unit
from processors.signal import Signal, discover
from schemas import frames, records, topics
from schemas.fields import FIELDS
from schemas.states import Step
from sinks.commander.sink import CommanderSink
from sinks.decisions_http import DecisionPages
from sinks.fleet import Fleet
from sinks.follower_metrics import FollowerMetrics, FollowerStats
from sinks.metrics import MetricsSink
from sinks.schedulers.http import HttpScheduler
from sinks.schedulers.sink import Reports, SchedulerSink
from sinks.tickets.dry_run import DryRun
from sinks.tickets.http_client import Secret
from sinks.tickets.memory import Memory
from sinks.tickets.sink import TicketSink

FOLDER = "docs/reference"
HELP_WIDTH = 100
NOT_EVIDENCE = {"where", "action", "hard", "corruption"}

# Which records stand on a topic; the frame is the one record that is not in `schemas.records`.
ON_TOPIC: dict[str, tuple[type[msgspec.Struct], ...]] = {
    topics.OBSERVATIONS: (frames.TelemetryFrame, *get_args(records.Observed)),
    topics.XIDS: (records.Xid,),
    topics.INVENTORY: (records.Inventory,),
    topics.RATES: (records.Rate,),
    topics.SCORES: (records.Score,),
    topics.REVALIDATIONS: (records.Revalidation,),
    topics.REVALIDATED: (records.Revalidated,),
    topics.INCIDENTS: (records.Incident,),
    topics.PREDICTIONS: (records.Prediction,),
    topics.FLEET_EVENTS: get_args(records.FleetEvent),
    topics.DECISIONS: (records.Decision,),
    topics.EVICTIONS: (records.Eviction,),
    topics.GROUPS: (records.GroupVerdict,),
    topics.BRAKES: (records.Brakes,),
    topics.COMMANDS: (records.Command,),
    topics.DEAD_LETTER: (records.DeadLetter,),
}


def files() -> Iterator[tuple[str, str]]:
    """(path, text) of every page."""
    pages: dict[str, Callable[[], str]] = {
        "signals": signals,
        "xids": fault_pages.xids,
        "sxids": fault_pages.sxids,
        "incidents": incidents,
        "policy": policy,
        "records": record_page,
        "metrics": metrics,
        "cases": cases,
        "cli": command_line,
    }
    for name, make in pages.items():
        yield f"{FOLDER}/{name}.md", make()


# --- signals and their policies ---------------------------------------------------------------------------


def signals() -> str:
    rows = policies.describe(policies.load("default"))
    chapters = []
    for signal in discover():
        own = [row for row in rows if row.key.startswith(f"signals.{signal.name}.")]
        chapters += [f"## {signal.name}", *_signal(signal, own)]
    about = (
        "A signal judges every GPU by one kind of evidence: fine, warning, critical, evict, or no opinion. The\n"
        "score of a GPU is the smallest cap of all signals. `gpu-vitals policy show` prints the values in force."
    )
    return page("Signals", about, *chapters)


def _signal(signal: Signal, rows: list[policies.Row]) -> Iterator[str]:
    yield prose(type(signal).__doc__)
    measured = quantity(signal)
    facts = []
    if measured:
        in_unit = f", in {unit(measured)}" if unit(measured) else ""
        facts.append(f"Judged by `{measured}`{in_unit}.")
    if signal.required:
        facts.append("Required: a GPU of which it cannot tell is `unknown`.")
    if signal.columns:
        size = sum(column.bytes_per_gpu for column in signal.columns.values())
        facts.append(f"State: {', '.join(map(code, signal.columns))}; {size} bytes per GPU.")
    yield " ".join(facts)
    known = [FIELDS[field] for field in signal.fields]
    yield table(
        ("field", "name up to DCGM 4.5", "name from 4.6", "kind", "unit"),
        [(each.id, code(each.name), code(each.new_name), each.kind, each.unit) for each in known],
    )
    yield table(
        ("policy key", "default", "spec", "unit"),
        [(code(row.key.split(".", 2)[2]), *_values(row), row.unit) for row in rows],
    )


def quantity(signal: Signal) -> str:
    """The name of the value a signal judges by: declared, or read off its calls of `judge`."""
    if signal.quantity:
        return signal.quantity
    source = textwrap.dedent(inspect.getsource(type(signal)))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "judge":
            names = [each.arg for each in node.keywords if each.arg and each.arg not in NOT_EVIDENCE]
            if names:
                return names[0]
    return ""


def policy() -> str:
    rows = policies.describe(policies.load("default"))
    about = (
        "Every key of a policy file, what the built-in `default` sets it to, and what `spec` (the product\n"
        "specification, exactly) says. A file names its `base` and only what differs from it."
    )
    body = [(code(row.key), *_values(row), row.unit, row.reason) for row in rows]
    return page("Policy", about, table(("key", "default", "spec", "unit", "why they differ"), body))


def _values(row: policies.Row) -> tuple[str, str]:
    return _value(row.value), _value(row.spec)


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    return code(msgspec.json.encode(value).decode())


# --- records ----------------------------------------------------------------------------------------------


def record_page() -> str:
    assert ON_TOPIC.keys() == topics.TOPICS.keys(), "ON_TOPIC lacks a topic"
    about = (
        "What stands on which topic. Records are JSON, telemetry frames msgpack; every record has a JSON Schema.\n"
        "Unknown fields are ignored and missing optional ones have their default, so old and new run side by side."
    )
    chapters = []
    for name, topic in topics.TOPICS.items():
        kept = "newest per key" if topic.retention_s is None else f"{topic.retention_s // topics.DAY_S} days"
        about_topic = topic.about[0].upper() + topic.about[1:]
        chapters += [f"## {topic.full_name}", f"{about_topic}. Key: {topic.key}. Kept: {kept}. {_ends(name)}"]
        chapters += [table(("record", "kind", "schema", "what"), map(_record, ON_TOPIC[name]))]
    line = json_schemas.file_name("recording-line", 1)
    recordings = f"## Recordings\n\nA line of a recording: {_link(line)}; see [recordings](../recordings.md)."
    return page("Topics and records", about, *chapters, recordings)


def _record(type_: type[msgspec.Struct]) -> tuple[str, str, str, str]:
    name = json_schemas.kebab(type_.__name__)
    tag = type_.__struct_config__.tag
    kind = tag if isinstance(tag, str) else frames.KIND if type_ is frames.TelemetryFrame else name
    about = prose(type_.__doc__).partition("\n\n")[0]
    return (
        code(type_.__name__),
        code(kind),
        _link(json_schemas.file_name(name, json_schemas.version(type_))),
        about,
    )


def _link(file: str) -> str:
    return f"[{file.removesuffix('.schema.json')}](../../{json_schemas.FOLDER}/{file})"


def _ends(topic: str) -> str:
    written = [stage.name for stage in STAGES if topic in stage.outputs]
    read = [stage.name for stage in STAGES if topic == stage.input]
    who = f"Written by {_stages(written)}" if written else "Written by sources, operators and the runner"
    return f"{who}{f'; read by {_stages(read)}' if read else ''}."


def _stages(names: list[str]) -> str:
    return f"the {' and '.join(names)} stage{'s' if len(names) > 1 else ''}"


# --- metrics, cases, commands -----------------------------------------------------------------------------


def metrics() -> str:
    about = (
        "What `/metrics` shows (`gpu-vitals run --listen PORT`). What is blank, stale or unknown has no series:\n"
        "never 0. `gpu_id` is the UUID, or `node/BDF` while that is not known; `hostname` is the node."
    )
    finding = (
        "`dcgm_retired_pages_total` is a gauge in spite of its name, which is given: the one thing that\n"
        "`promtool check metrics` remarks on."
    )
    followed = "Every `gpu-vitals sink` that listens also shows how far it is."
    followers = FollowerMetrics(lambda: FollowerStats("metrics"))
    asked = "And `gpu-vitals sink decisions` what is asked of it."
    api = DecisionPages(Fleet(), float, lambda: (b"", ""), dict, dict)
    return page(
        "Metrics",
        about,
        _metrics(MetricsSink()),
        finding,
        "## Of sinks on Kafka",
        followed,
        _metrics(followers),
        asked,
        _metrics(api),
        "## Of tickets",
        "`gpu-vitals run` and `gpu-vitals sink tickets` show them where [tickets](../tickets.md) are asked for.",
        _metrics(TicketSink(DryRun(""), Memory(None))),
        "## Of the commander",
        "`gpu-vitals sink commander` shows what it sends to nodes: [the commander](../commander.md).",
        _metrics(CommanderSink(None)),
        "## Of schedulers",
        "`gpu-vitals sink scheduler` shows them: [adapters](../scheduler-adapters.md).",
        _metrics(SchedulerSink(HttpScheduler("http://localhost", Secret(None, "", {}), ""), _Unsaid(), int)),
    )


class _Unsaid(Reports):
    """Of a sink that is only asked what it counts."""

    async def send(self, said: object) -> None: ...

    async def close(self) -> None: ...


def _metrics(collector: Collector) -> str:
    rows = []
    for family in collector.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(map(code, vars(family)["_labelnames"]))
        rows.append((code(name), family.type, labels, family.documentation))
    return table(("name", "type", "labels", "what"), rows)


def cases() -> str:
    about = (
        "The case of a GPU that is taken out of service; in words: [Evictions](../evictions.md). The table is\n"
        "complete: each event in each step has a cell, checked when the module is loaded. Both are printed from\n"
        "`processors/case_table.py`; the diagram leaves out what changes no step."
    )
    rows = []
    for at, row in case_table.TABLE.items():
        for event, (step, targets) in row.items():
            leads = ", ".join(code(to.value) for to in Step if to in targets) or "no change"
            rows.append((code(at.value), code(event.__name__), prose(step.__doc__), leads))
    known = [(code(each.__name__), prose(each.__doc__)) for each in case_table.EVENTS]
    moves = table(("step", "event", "what is done", "may lead to"), rows)
    diagram = fence("mermaid", case_table.diagram())
    return page("Cases", about, diagram, "## Events", table(("event", "what happened"), known), "## Table", moves)


def command_line() -> str:
    exits = (
        "Exit status of every command: 0 done, 2 a problem of usage, configuration or input (the message says what,\n"
        "where, and how to mend it), 130 interrupted; what 1 means is said by those commands that use it."
    )
    chapters = [text for path, text in _helps(cli, "gpu-vitals", None)]
    return page("Command line", exits, *chapters)


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    settings = {**command.context_settings, "terminal_width": HELP_WIDTH, "max_content_width": HELP_WIDTH}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    yield context.command_path, f"## {context.command_path}\n\n{fence('text', command.get_help(context))}"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None, inner
            yield from _helps(found, inner, context)
