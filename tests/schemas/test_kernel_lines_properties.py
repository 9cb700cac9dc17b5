"""What garbage must not do to the reading of kernel lines."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.kernel_lines import LineReader, parse_message
from tests.schemas.kernel_log import (
    BOOT_MS,
    FORMS,
    LOST,
    NOW_MS,
    PREFIXES,
    PROBE,
    SWITCH_FAULT,
    UNREADABLE,
    read,
)

MARKS = ("NVRM: ", "Xid (", "detected NVSwitch")
fragments = st.sampled_from(
    [
        *FORMS,
        *UNREADABLE,
        *PREFIXES,
        *PROBE,
        *SWITCH_FAULT,
        "\n",
        "NVRM: Xid (",
        "): ",
        "[",
        "\\x0a",
        "#012",
        "\0",
        ", ",
    ]
)
noise = st.lists(st.one_of(fragments, st.text(max_size=8)), max_size=12).map("".join)
hex2 = st.integers(0, 255).map("{:02x}".format)
bdfs = st.builds("{:04x}:{}:{}".format, st.one_of(st.integers(0, 0xFFFF), st.just(0x12345)), hex2, hex2)
names = st.one_of(
    st.sampled_from(["a, b", "x::y", "[kthread]", "my job", "py,3"]),
    st.from_regex("[a-z_]{1,15}", fullmatch=True),
)


@st.composite
def xid_lines(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A line as drivers print it, and what it says."""
    said: dict[str, object] = {"code": draw(st.integers(1, 999)), "bdf": draw(bdfs)}
    mig = ""
    if draw(st.booleans()):
        said["gi"] = draw(st.integers(0, 14))
        mig = f" GPU-I:{said['gi']:02}"
        if draw(st.booleans()):
            said["ci"] = draw(st.integers(0, 7))
            mig += f" GPU-CI:{said['ci']:02}"
    head = draw(st.sampled_from(["PCI:", ""])) + str(said["bdf"]) + draw(st.sampled_from(["", ".0"]))
    line = f"NVRM: Xid ({head}{mig}): {said['code']}, "
    if draw(st.booleans()):
        said |= {"pid": draw(st.integers(0, 4194304)), "process": draw(names)}
        line += f"pid={said['pid']}, name={said['process']}, "
    said["message"] = draw(st.sampled_from(["Ch 00000008, intr 0", "GPU has fallen off the bus.", "Timeout after 6s"]))
    line += str(said["message"])
    if draw(st.booleans()):
        said["previous"] = draw(st.integers(1, 999))
        line += f" caused by previous Xid {said['previous']}"
    prefix = draw(st.sampled_from([prefix for prefix in PREFIXES if "fabric" not in prefix]))
    return prefix + line, said


@given(st.one_of(st.text(), noise))
@example("NVRM: GPU " * 3000)
@example("[" * 20_000 + "NVRM: Xid (" * 2000)
@example("\ud800NVRM: Xid (PCI:0000:01:00): 79")
def test_no_text_raises_and_nothing_is_invented(text: str) -> None:
    parse_message(text)
    for event in read(text, text, boot_ms=BOOT_MS, now_ms=NOW_MS):
        assert any(mark in text.replace("\x1b[0m", "") for mark in MARKS)
        plain = event.raw.replace("\\x0a", "\n").replace("#012", "\n")
        for value in (event.code, event.pid, event.process, event.previous, event.uuid, event.link, event.gi):
            assert value is None or str(value) in plain
        assert event.bdf is None or event.bdf[-5:] in event.raw.lower()


@given(xid_lines())
def test_what_the_driver_prints_is_read_back(case: tuple[str, dict[str, object]]) -> None:
    line, said = case
    [event] = read(line, boot_ms=BOOT_MS, now_ms=NOW_MS)
    assert {name: getattr(event, name) for name in said} == said
    assert all(getattr(event, name) is None for name in {"gi", "ci", "pid", "process", "previous"} - said.keys())


@given(st.lists(st.tuples(xid_lines(), noise), max_size=6), st.integers(0, len("NVRM: Xid (PCI:0000:9b:00")))
def test_broken_neighbours_hide_no_fault(
    cases: list[tuple[tuple[str, dict[str, object]], str]], cut_chars: int
) -> None:
    lines = [line for (whole, _), other in cases for line in (other, LOST[:cut_chars], whole)]
    raws = [event.raw for event in read(*lines, boot_ms=BOOT_MS, now_ms=NOW_MS) if event.kind == "xid"]
    for (whole, _), _ in cases:
        assert any(whole.endswith(raw) for raw in raws)


@given(st.lists(noise, max_size=30))
def test_one_line_at_a_time_or_all_at_once_is_the_same(lines: list[str]) -> None:
    assert read(*lines) == read("\n".join(lines))


def test_memory_and_output_stay_bounded() -> None:
    reader = LineReader()
    for i in range(2000):
        reader.feed(f"nvidia-nvswitch0: SXid (PCI:0000:{i % 256:02x}:00.0): {i:05}, Fatal, Link 1 " + "x" * 20_000)
        reader.feed(f"NVRM: The NVIDIA GPU 0000:{i % 256:02x}:00.0 " + "y" * 20_000)
        reader.feed("NVRM: (PCI ID: 10de:26b5) installed in this system has " + "z" * 20_000)
    held = reader.flush()
    assert len(held) <= 64
    assert sum(len(event.raw) for event in held) < 64 * 8 * 10_000
