"""The documents keep their word: examples print what they say, links lead somewhere, tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.generated import examples
from pipeline.settings import PREFIX, TABLES, Settings
from schemas import recording

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("*.md", "docs/*.md", "docs/agent/*.md", "docs/kafka/*.md", "docs/reference/*.md")
PAGES = sorted(path for pattern in FOLDERS for path in ROOT.glob(pattern))
WRITTEN = [path for path in PAGES if path.parent.name != "reference"]
FENCES = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^]\n]*\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """Of the headings, as they are linked to."""
    headings = re.findall(r"^#+ (.+)$", FENCES.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_examples_print_what_the_page_says(path: Path) -> None:
    text = path.read_text("utf-8")
    assert examples.fill(text, ROOT) == text


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_console_examples_are_marked(path: Path) -> None:
    """Only what cannot end, or changes the machine, stands unmarked: as text, or this one command."""
    unmarked = re.findall(
        r"(?<!<!-- run -->\n)^```console\n(.*?)^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert set(unmarked) <= {"$ make run\n"}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCES.sub("", path.read_text("utf-8"))):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_index_names_every_document() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text("utf-8"))}
    documents = {path for path in PAGES if path.is_relative_to(ROOT / "docs")} - {index}
    assert documents <= linked


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    own = [setting for setting in Settings.__struct_fields__ if setting not in TABLES]
    tables = [(f"{PREFIX}{name.upper()}_", type_.__struct_fields__) for name, type_ in TABLES.items()]
    for prefix, settings in ((PREFIX, own), *tables):
        for setting in settings:
            assert re.search(rf"`({prefix}|_){setting.upper()}\b", page), setting
            assert re.search(rf"[|,] `{setting}\b", page), setting


def test_every_key_of_a_recording_is_documented() -> None:
    page = (ROOT / "docs/recordings.md").read_text("utf-8")
    for key in recording.Line.__struct_fields__:
        assert f"\n| `{key}` |" in page


def test_every_example_file_is_used_by_a_page() -> None:
    text = "".join(path.read_text("utf-8") for path in PAGES)
    for path in (ROOT / "docs/examples").iterdir():
        assert f"examples/{path.name}" in text


def test_the_example_frame_of_the_recordings_page_is_sound() -> None:
    import msgspec

    from schemas import frames

    page = (ROOT / "docs/recordings.md").read_text("utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    frame = frames.from_json(msgspec.json.decode(shown))
    assert dict(frame.columns()).keys() == {150, 310}
