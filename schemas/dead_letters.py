"""What becomes of a record that could not be understood."""

from __future__ import annotations

from schemas.log import Record
from schemas.records import DeadLetter
from schemas.topics import MESSAGE_BYTES_MAX

DATA_BYTES_MAX = MESSAGE_BYTES_MAX // 2  # base64 makes it a third longer


def letter(source: str, record: Record, why: str, data: bytes | None = None, node: str = "") -> DeadLetter:
    """source: where the record stands, TOPIC/PARTITION/OFFSET, or the topic alone where it found no place.

    data: where the record's value says less than its origin did. Of what is too large the beginning is kept; the
    whole can be read again where it stands.
    """
    whole = record.value if data is None else data
    return DeadLetter(
        ts=record.ts,
        node=node,
        source=source,
        kind=record.kind,
        why=why,
        data=whole[:DATA_BYTES_MAX],
        size=len(whole) if len(whole) > DATA_BYTES_MAX else 0,
    )
