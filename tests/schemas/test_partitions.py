from __future__ import annotations

from aiokafka.partitioner import murmur2 as of_a_client
from hypothesis import given
from hypothesis import strategies as st

from schemas.partitions import murmur2, partition_of


@given(st.binary(max_size=64))
def test_hashes_as_kafkas_clients_do(data: bytes) -> None:
    assert murmur2(data) == of_a_client(data) & 0xFFFFFFFF


def test_a_key_has_one_partition_among_those_there_are() -> None:
    assert {partition_of(f"node-{number}", 4) for number in range(100)} == {0, 1, 2, 3}
    assert partition_of("node-7", 1) == 0


def test_growth_by_a_whole_factor_moves_a_key_only_to_a_partition_with_the_same_remainder() -> None:
    """What makes it possible to split a partition's state without looking at any other."""
    for number in range(200):
        assert partition_of(f"node-{number}", 12) % 4 == partition_of(f"node-{number}", 4)
