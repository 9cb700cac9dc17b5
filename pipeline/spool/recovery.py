"""What an earlier agent left in the spool's directory: checked, cut where it is torn, mended where it is damaged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.spool.blocks import Block, Found, Head, encode, scan
from pipeline.spool.lane import Lane
from pipeline.spool.segment import HALF, Segment, parse_name

logger = logging.getLogger(__name__)


class Recovery:
    """Fills `lanes` (whose `acked` says what need not be kept) from `directory`. Raises OSError.

    epoch, boot: of the newest segment. write: the newest append. positions: by source, with their write. number:
    of the newest segment. damaged: something was not as it had been written. lost: records in what was damaged.
    """

    def __init__(self, directory: Path, lanes: Mapping[str, Lane]) -> None:
        self.epoch = 0
        self.boot = ""
        self.write = 0
        self.number = 0
        self.positions: dict[str, tuple[int, str]] = {}
        self.damaged = False
        self.lost = 0
        self._epochs = dict.fromkeys(lanes, 0)
        self._cut_short = False  # the segment before has lost its end
        files: dict[str, list[tuple[int, Path]]] = {which: [] for which in lanes}
        for path in directory.iterdir():
            if parsed := parse_name(path.name):
                files[parsed[0]].append((parsed[1], path))
            elif path.suffix == HALF:
                path.unlink()
        for which, lane in lanes.items():
            numbered = sorted(files[which])
            self._cut_short = False
            for number, path in numbered:
                self.number = max(self.number, number)
                self._take(lane, Segment(number, lane.end, path), last=number == numbered[-1][0])
        for which, lane in lanes.items():
            if self._epochs[which] < self.epoch:
                lane.counts = {}

    def _take(self, lane: Lane, segment: Segment, last: bool) -> None:
        data = segment.read(0)
        blocks = list(scan(data))
        sound_to = blocks[-1].end if blocks else 0
        holes = [found for found in blocks if not found.whole]
        headless = bool(blocks) and not isinstance(blocks[0].content, Head)
        if headless or holes or sound_to < len(data):
            self.damaged = True
            torn = last and not holes and not headless
            what = "cut off behind its last whole record" if torn else "damaged; what can be read of it is kept"
            logger.warning("spool: %s-%d: %s", lane.name, segment.number, what)
        if not blocks:
            self._cut_short = self._cut_short or bool(data and not last)
            segment.remove()
            return
        head = blocks[0].content if isinstance(blocks[0].content, Head) else self._head_for(lane, blocks[0])
        if self._cut_short:
            self._miss(lane, lane.end, head.first)
        self._cut_short = sound_to < len(data) and not last
        self._read(lane, segment, head, blocks)
        if holes or headless:
            kept = [each for each in blocks if isinstance(each.content, Block)]
            segment.replace(encode(head) + b"".join(data[each.at : each.end] for each in kept))
        elif sound_to < len(data):
            segment.cut(sound_to)
        lane.segments.append(segment)

    def _head_for(self, lane: Lane, first: Found) -> Head:
        """In place of one that cannot be read."""
        return Head(
            first=first.content.first, epoch=self.epoch, boot=self.boot, counts=lane.counts, positions=self.positions
        )

    def _read(self, lane: Lane, segment: Segment, head: Head, blocks: list[Found]) -> None:
        if head.epoch > self._epochs[lane.name]:
            self._epochs[lane.name], lane.counts = head.epoch, {}
        if head.epoch >= self.epoch:
            self.epoch, self.boot = head.epoch, head.boot
        lane.counts |= head.counts
        for source, (write, position) in head.positions.items():
            self._position(source, write, position)
        segment.first = segment.end = head.first
        for found in blocks:
            block = found.content
            if not isinstance(block, Block):
                continue
            if not found.whole:
                self._miss(lane, segment.end, block.first)
            self.write = max(self.write, block.write)
            lane.counts |= block.counts
            if block.position is not None:
                self._position(block.source, block.write, block.position)
            segment.end = max(segment.end, block.end)
            segment.urgent = segment.urgent or block.urgent
        lane.end = max(lane.end, segment.end)

    def _miss(self, lane: Lane, have: int, next_: int) -> None:
        """Records from `have` to `next_` are not there."""
        self.lost += max(next_ - max(have, lane.acked), 0)

    def _position(self, source: str, write: int, position: str) -> None:
        self.write = max(self.write, write)
        if write >= self.positions.get(source, (0, ""))[0]:
            self.positions[source] = write, position
