"""What is generated is fresh, and a record cannot change incompatibly without a new version."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import generate
from pipeline.generated import examples, json_schemas, reference
from pipeline.generated.compatibility import incompatibilities
from pipeline.topology import Stage
from processors.node import NodeTask
from processors.signal import discover
from schemas import records, sxid, topics, xid
from sinks.metrics import MetricsSink

ROOT = Path(__file__).resolve().parents[2]
DECISION = "schemas/json/decision.v1.schema.json"
Schema = dict[str, Any]


def decision() -> Schema:
    """Without MIG instances, which hold the same inner types once more."""
    schema = json_schemas.schema("decision", records.Decision)
    del schema["properties"]["instances"], schema["$defs"]["InstanceHealth"]
    return schema


# --- compatibility ----------------------------------------------------------------------------------------


def remove_a_field(schema: Schema) -> None:
    del schema["properties"]["held_by"]


def remove_a_required_field(schema: Schema) -> None:
    del schema["properties"]["weight"]
    schema["required"].remove("weight")


def change_a_type(schema: Schema) -> None:
    schema["properties"]["weight"]["type"] = "string"


def allow_null(schema: Schema) -> None:
    schema["properties"]["weight"] = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def limit_a_number(schema: Schema) -> None:
    schema["properties"]["weight"]["maximum"] = 0.5


def require_a_new_field(schema: Schema) -> None:
    schema["properties"]["shelf"] = {"type": "string"}
    schema["required"].append("shelf")


def require_a_present_field(schema: Schema) -> None:
    schema["required"].append("uuid")


def stop_requiring_a_field(schema: Schema) -> None:
    schema["required"].remove("weight")
    schema["properties"]["weight"]["default"] = 0.0


def change_a_default(schema: Schema) -> None:
    schema["properties"]["action"]["default"] = "monitor"


def take_a_word_away(schema: Schema) -> None:
    schema["$defs"]["Condition"]["enum"].remove("unknown")


def add_a_word(schema: Schema) -> None:
    schema["$defs"]["CaseState"]["enum"].append("resetting")


def change_what_a_list_holds(schema: Schema) -> None:
    schema["properties"]["reasons"]["items"] = {"type": "string"}


def change_a_field_further_in(schema: Schema) -> None:
    schema["$defs"]["Reason"]["properties"]["cap"]["type"] = "integer"


def forbid_other_fields(schema: Schema) -> None:
    schema["additionalProperties"] = False


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (remove_a_field, "$.held_by"),
        (remove_a_required_field, "$.weight"),
        (change_a_type, "$.weight"),
        (allow_null, "$.weight"),
        (limit_a_number, "$.weight"),
        (require_a_new_field, "$.shelf"),
        (require_a_present_field, "$.uuid"),
        (stop_requiring_a_field, "$.weight"),
        (change_a_default, "$.action"),
        (take_a_word_away, "$.condition"),
        (add_a_word, "$.state"),
        (change_what_a_list_holds, "$.reasons[]"),
        (change_a_field_further_in, "$.reasons[].cap"),
        (forbid_other_fields, "$"),
    ],
)
def test_incompatible(change: Callable[[Schema], None], path: str) -> None:
    new = decision()
    change(new)
    (found,) = incompatibilities(decision(), new)
    assert found.startswith(f"{path}: ")


def add_an_optional_field(schema: Schema) -> None:
    schema["properties"]["shelf"] = {"type": "string", "default": ""}


def say_it_in_other_words(schema: Schema) -> None:
    schema["title"] = schema["description"] = schema["$defs"]["Reason"]["description"] = "other words"


def rename_an_inner_type(schema: Schema) -> None:
    schema["$defs"]["Cause"] = schema["$defs"].pop("Reason")
    schema["properties"]["reasons"]["items"] = {"$ref": "#/$defs/Cause"}


@pytest.mark.parametrize("change", [add_an_optional_field, say_it_in_other_words, rename_an_inner_type])
def test_compatible(change: Callable[[Schema], None]) -> None:
    new = decision()
    change(new)
    assert incompatibilities(decision(), new) == []


def test_types_that_hold_themselves_are_compared_once() -> None:
    tree: Schema = {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"inner": {"$ref": "#/$defs/T"}}}}}
    other = copy.deepcopy(tree)
    other["$defs"]["T"]["properties"]["size"] = {"type": "integer"}
    assert incompatibilities(tree, other) == []
    assert incompatibilities(other, tree) == ["$.size: removed"]


# --- the check on files -----------------------------------------------------------------------------------


def committed(root: Path, schema: Schema, path: str = DECISION) -> None:
    generate.write(root / path, json.dumps(schema))


def test_an_incompatible_change_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    old = decision()
    old["properties"]["shelf"] = {"type": "string", "default": ""}
    committed(tmp_path, old)
    (problem,) = generate.broken(dict(json_schemas.files()), tmp_path)
    assert f"{DECISION}: incompatible without a new version: $.shelf: removed" in problem
    assert "raise the record's `v` to 2" in problem


def test_a_new_version_may_differ_and_the_old_one_stays(tmp_path: Path) -> None:
    old = decision()
    old["properties"]["shelf"] = {"type": "string"}
    committed(tmp_path, old)
    new = {DECISION.replace(".v1.", ".v2."): json.dumps(decision())}
    assert generate.broken(new, tmp_path) == []


def test_an_optional_addition_is_fine_but_has_to_be_committed(tmp_path: Path) -> None:
    old = decision()
    del old["properties"]["held_by"]
    committed(tmp_path, old)
    made = dict(json_schemas.files())
    assert generate.broken(made, tmp_path) == []
    assert DECISION in generate.stale(made, tmp_path)


def test_a_version_never_falls(tmp_path: Path) -> None:
    committed(tmp_path, decision(), DECISION.replace(".v1.", ".v2."))
    (problem,) = generate.broken(dict(json_schemas.files()), tmp_path)
    assert "the code is at version 1" in problem


def test_a_schema_of_no_record_is_found(tmp_path: Path) -> None:
    committed(tmp_path, decision(), "schemas/json/gossip.v1.schema.json")
    (problem,) = generate.broken(dict(json_schemas.files()), tmp_path)
    assert "gossip.v1.schema.json: there is no such record any more" in problem


def test_nothing_is_written_over_an_incompatible_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = decision()
    old["properties"]["shelf"] = {"type": "string", "default": ""}
    committed(tmp_path, old)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert generate.main([]) == 1
    assert generate.main(["--check"]) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert "$.shelf: removed" in capsys.readouterr().err


def test_written_once_it_is_fresh_and_a_changed_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "docs/reference/xids.md").write_text("by hand", "utf-8")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("docs/reference/xids.md: is not what the code says\n  help: ")


# --- what is generated ------------------------------------------------------------------------------------


def test_the_committed_schemas_are_those_of_the_code() -> None:
    made = dict(json_schemas.files())
    assert generate.broken(made, ROOT) == []
    assert generate.stale(made, ROOT) == []


def test_every_record_has_a_schema_and_its_own_shape_stands_at_the_top() -> None:
    made = {path.rpartition("/")[2].partition(".")[0]: json.loads(text) for path, text in json_schemas.files()}
    assert {"telemetry-frame", "recording-line", "decision", "kernel-fault", "tick"} <= made.keys()
    for name, schema in made.items():
        assert schema["type"] == "object", name
        assert json_schemas.kebab(schema["title"]) == name


def test_every_signal_xid_topic_metric_and_command_has_its_place() -> None:
    pages = dict(reference.files())
    for signal in discover():
        assert f"\n## {signal.name}\n" in pages["docs/reference/signals.md"]
        assert reference.quantity(signal), signal.name
    for page, catalog in (("xids", xid.CATALOG), ("sxids", sxid.CATALOG)):
        for number in catalog:
            assert f"\n| {number} | " in pages[f"docs/reference/{page}.md"]
    for topic in topics.TOPICS.values():
        assert f"\n## {topic.full_name}\n" in pages["docs/reference/records.md"]
    for family in MetricsSink().collect():
        assert f"| `{family.name}" in pages["docs/reference/metrics.md"]
    for command in ("run", "scan", "xid parse", "policy show", "simulate", "replay"):
        assert f"\n## gpu-vitals {command}\n" in pages["docs/reference/cli.md"]


def test_generating_twice_gives_the_same() -> None:
    assert dict(reference.files()) == dict(reference.files())


def test_the_diagram_follows_the_topology() -> None:
    stage = Stage("guess", topics.SCORES, (topics.DECISIONS,), NodeTask)
    drawn = examples.stage_diagram([stage])
    assert "scores([scores]) --> stage_guess[guess stage] --> decisions([decisions])" in drawn
    assert "decisions([decisions]) --> sinks" in drawn
    assert "sources --> scores([scores])" in drawn


def test_marked_blocks_are_made_and_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import os\n\n\nclass One:\n    size = 1\n\n\nclass Two:\n    pass\n", "utf-8")
    text = (
        "<!-- run -->\n```console\n$ echo one; echo two >&2\nold\n$ exit 3\n```\n\n"
        "```console\n$ echo untouched\n```\n\n"
        "<!-- class one.py -->\n```python\nold\n```\n"
    )
    assert examples.fill(text, tmp_path) == (
        "<!-- run -->\n```console\n$ echo one; echo two >&2\none\ntwo\n$ exit 3\n[exit status 3]\n```\n\n"
        "```console\n$ echo untouched\n```\n\n"
        "<!-- class one.py -->\n```python\nclass One:\n    size = 1\n```\n"
    )


def test_the_still_is_the_upper_part_of_the_live_view(tmp_path: Path) -> None:
    made = examples.fill("<!-- view 5 3 -->\n```text\nold\n```\n", tmp_path).splitlines()
    assert made[2].startswith("GPU Vitals  ")
    assert made[3].startswith("64 GPUs on 8 nodes  policy default@")
    assert made[5] == "```"


def test_an_example_that_ends_in_a_traceback_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(examples.ExampleFailed, match="ends in a traceback"):
        examples.fill("<!-- run -->\n```console\n$ python -c 'raise OSError'\n```\n", tmp_path)
