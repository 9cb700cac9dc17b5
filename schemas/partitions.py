"""Where a key belongs: the partition that every Kafka client's default chooses (murmur2, as Kafka's Java client)."""

from __future__ import annotations

SEED, MIX, SHIFT = 0x9747B28C, 0x5BD1E995, 24
MASK = 0xFFFFFFFF


def partition_of(key: str, partitions: int) -> int:
    """The one of `partitions` that `key` belongs to."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Austin Appleby's MurmurHash2, 32 bits, with Kafka's seed."""
    hashed = SEED ^ len(data)
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * MIX & MASK
        word = (word ^ (word >> SHIFT)) * MIX & MASK
        hashed = (hashed * MIX & MASK) ^ word
    if tail := data[whole:]:
        hashed = (hashed ^ int.from_bytes(tail, "little")) * MIX & MASK
    hashed = (hashed ^ (hashed >> 13)) * MIX & MASK
    return hashed ^ (hashed >> 15)
