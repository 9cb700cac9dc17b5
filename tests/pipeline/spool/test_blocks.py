from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.log import Entry
from pipeline.spool.blocks import Block, Head, encode, scan

ENTRIES = st.lists(
    st.builds(
        Entry,
        st.text(max_size=5),
        st.sampled_from(["kernel", "telemetry"]),
        st.binary(max_size=20),
        st.none() | st.integers(0, 1 << 60),
        st.none() | st.integers(0, 9),
    ),
    max_size=3,
)
BLOCKS = st.lists(
    st.builds(
        Block,
        write=st.integers(0, 1 << 60),
        first=st.integers(0, 1 << 60),
        source=st.text(max_size=5),
        position=st.none() | st.text(max_size=5),
        counts=st.dictionaries(st.text(max_size=3), st.integers(0, 1 << 60), max_size=2),
        urgent=st.booleans(),
        entries=ENTRIES,
    )
    | st.builds(
        Head,
        first=st.integers(0, 1 << 60),
        epoch=st.integers(0, 1 << 60),
        boot=st.text(max_size=5),
        counts=st.dictionaries(st.text(max_size=3), st.integers(0, 1 << 60), max_size=2),
        positions=st.dictionaries(
            st.text(max_size=3), st.tuples(st.integers(0, 1 << 60), st.text(max_size=3)), max_size=2
        ),
    ),
    max_size=6,
)


@given(BLOCKS)
def test_blocks_come_back_as_they_were_one_behind_the_other(blocks):
    found = list(scan(b"".join(map(encode, blocks))))
    assert [each.content for each in found] == blocks
    assert all(each.whole for each in found)


@given(BLOCKS, st.data())
def test_one_changed_byte_costs_one_block_and_shows(blocks, data):
    written = b"".join(map(encode, blocks))
    if not written:
        return
    at = data.draw(st.integers(0, len(written) - 1))
    change = data.draw(st.integers(1, 255))
    damaged = bytearray(written)
    damaged[at] ^= change
    found = list(scan(bytes(damaged)))
    hit = next(number for number, each in enumerate(scan(written)) if at < each.end)
    assert [each.content for each in found] == blocks[:hit] + blocks[hit + 1 :]
    assert [number for number, each in enumerate(found) if not each.whole] == ([hit] if hit < len(found) else [])


@given(BLOCKS, st.integers(0, 10_000))
def test_what_is_cut_off_is_a_prefix(blocks, size):
    written = b"".join(map(encode, blocks))
    ends = [each.end for each in scan(written)]
    found = list(scan(written[:size]))
    assert [each.content for each in found] == blocks[: sum(end <= size for end in ends)]


@given(st.binary())
def test_anything_else_holds_no_block(data):
    assert list(scan(data)) == []
