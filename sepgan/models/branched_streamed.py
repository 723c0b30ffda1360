"""The logits of a branched U-Net on a CPU, with less work and memory than its levels take one after the other.

Memory is what large levels wait for. So each writes its output where the next one reads it, margins and all; the first
two levels go down some bands at a time; and the way up goes from left to right, some frames at a time, where each level
keeps the few columns of its input that it will need again. Only its deepest levels, with few columns, are made at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.masks import blocks_of
from sepgan.models.branched_coarse import ROWS_BEFORE, CoarseEnd
from sepgan.models.branched_folded import Cells, FoldedDown, FoldedLast, FoldedUp, Halving
from sepgan.models.branched_levels import MARGINS, Down, Up
from sepgan.models.parities import REACH, Parities, SortedHead

ROWS_AT_ONCE = 16  # of the second level down
FRAMES_AT_ONCE = 384  # of the last level up, about
KEPT = REACH + 3  # columns of its input that a level up needs again, at most
ROWS_OF_BLOCKS = 2  # made at once
BANDS_BEYOND = 16  # fine ones that are made so that those below them are right: more than a head looks at
BEFORE, BEHIND = MARGINS

Logits = tuple[Tensor, Tensor | None]
"""What a branch says of its stems.

Of the fine bands, and of `BANDS_BEYOND` above them unless all are fine, `[B, 2, 2, 2, 2, S * C, F / 16, n]`, see
`sorted_bands`; of the blocks of the others, `[B, R, S * C, F' / R, n']`, see `CoarseEnd`.
"""
Skip = Sequence[Tensor]
"""A skip connection `[B, F, N, C]`, bands after bands."""


class Streamed:
    """The levels of a branched U-Net with one at the full resolution, for one run.

    Args:
        encoder: Levels down, two at least.
        bottleneck: The convolution below them.
        shared: Levels up that all branches share.
        branches: Levels up of each, the last at the full resolution.
        heads: One for each branch.
        dtype: Of all that is computed.
        fine: Bands that are made cell by cell, those above in blocks; 32 divides it. None for all.
    """

    def __init__(
        self,
        encoder: Sequence[Down],
        bottleneck: nn.Conv2d,
        shared: Sequence[Up],
        branches: Sequence[Sequence[Up]],
        heads: Sequence[nn.Conv2d],
        dtype: torch.dtype,
        fine: int | None,
    ) -> None:
        self._dtype = dtype
        self._encoder = [FoldedDown(level, dtype) for level in encoder]
        self._bottleneck = Halving(bottleneck, dtype)
        self._shared = [FoldedUp(level, dtype) for level in shared]
        self._branches = [_Branch(levels, head, dtype, fine) for levels, head in zip(branches, heads, strict=True)]

    def logits(self, magnitudes: Tensor, size: tuple[int, int], frames: slice) -> Iterator[tuple[range, list[Logits]]]:
        """Logits of some frames, a few at a time.

        Args:
            magnitudes: `[B, C, F, N]`.
            size: Bands and frames to which they are filled up with zeros, so that every level can halve them.
            frames: Which are wanted.

        Yields:
            Which, and what each branch says of them.
        """
        skips, x = self._down(magnitudes, size)
        for up in self._shared:
            room = _whole_room(skips.pop())
            up.bound(up.cells(x), _within(room), 0)
            x = room
        deepest = [branch.deepest.cells(x) for branch in self._branches]
        del x, room
        skips.reverse()  # the deepest comes first
        steps: list[Step] = []
        for part in tiles(frames, len(skips) + 1):
            steps = plan(part, size[1], len(skips) + 1, steps)
            rooms = [
                _joining(skip, range(skip[0].shape[2]), step.holds) for skip, step in zip(skips, steps, strict=False)
            ]
            rooms.append(self._first_room(magnitudes, size, steps[-2].holds))
            logits = [
                branch.logits(cells, rooms, steps, part, size[1])
                for branch, cells in zip(self._branches, deepest, strict=True)
            ]
            del rooms  # the next ones take their place
            yield part, logits
            del logits

    def _down(self, magnitudes: Tensor, size: tuple[int, int]) -> tuple[list[Skip], Tensor]:
        """All skip connections but the first, and what comes out below the deepest, with a column on either side."""
        first, second, *deeper = self._encoder
        lower: list[Tensor] = []
        x = inside = magnitudes.new_empty(0)
        half = size[0] // 2
        for begin in range(0, half // 2, ROWS_AT_ONCE):
            end = min(begin + ROWS_AT_ONCE, half // 2)
            rows = range(max(0, 2 * begin - BEFORE), min(half, 2 * end + BEHIND))  # of the first level
            skip = first.skip(self._seen(magnitudes, rows, range(size[1] // 2)))
            room, places = _margined(skip, range(2 * begin - BEFORE, 2 * end + BEHIND), rows)
            first.activate(skip, places)
            lower.append(second.skip(room))
            if not begin:
                x, inside = _margined(lower[0], range(-BEFORE, half // 2 + BEHIND), range(half // 2))
            second.activate(lower[-1], inside[:, begin:end])
        skips: list[Skip] = [lower]
        for level in deeper:
            skip = level.skip(x)
            skips.append([skip])
            x, inside = _margined(skip, range(-BEFORE, skip.shape[1] + BEHIND), range(skip.shape[1]))
            level.activate(skip, inside)
        return skips, functional.pad(self._bottleneck(x), (0, 0, 1, 1))

    def _first_room(self, magnitudes: Tensor, size: tuple[int, int], columns: range) -> Tensor:
        """Room for what joins the first skip connection, the largest: to make it again is no slower than to keep it."""
        bands, frames = (range(count // 2) for count in size)
        made = _both(columns, frames)
        return _joining([self._encoder[0].skip(self._seen(magnitudes, bands, made))], made, columns)

    def _seen(self, magnitudes: Tensor, rows: range, columns: range) -> Tensor:
        """What the first level reads of `[B, C, F, N]` for some of its cells, zero where there is nothing."""
        batch, channels, *size = magnitudes.shape
        parts = [range(2 * cells.start - BEFORE, 2 * cells.stop + BEHIND) for cells in (rows, columns)]
        seen = magnitudes.new_zeros(batch, *map(len, parts), channels, dtype=self._dtype)
        all_ = [range(count) for count in size]
        there = [_both(part, cells) for part, cells in zip(parts, all_, strict=True)]
        inside = seen[:, _at(there[0], parts[0]), _at(there[1], parts[1])]
        bands, frames = (_at(some, cells) for some, cells in zip(there, all_, strict=True))
        for channel in range(channels):  # quicker than all at once
            inside[..., channel] = magnitudes[:, channel, bands, frames]
        return seen


class _Branch:
    """Levels up of one branch, and its head, on their way from left to right.

    Attributes:
        deepest: The first level, which makes all columns at once: a few at a time would take longer.
    """

    def __init__(self, levels: Sequence[Up], head: nn.Conv2d, dtype: torch.dtype, fine: int | None) -> None:
        deepest, *ups, last = levels
        self.deepest = FoldedUp(deepest, dtype)
        self._ups = [FoldedUp(level, dtype) for level in ups]
        self._last = FoldedLast(last, dtype)
        self._head = SortedHead(head, dtype)
        self._fine = fine
        self._coarse = None if fine is None else CoarseEnd(last, head, dtype, ROWS_OF_BLOCKS)
        self._kept: dict[int, Tensor] = {}  # of each level's columns, what the next frames need

    def logits(self, cells: Cells, rooms: Sequence[Tensor], steps: Sequence[Step], frames: range, total: int) -> Logits:
        """Logits of some frames.

        Args:
            cells: What the deepest level makes.
            rooms: What each of the others reads, with the skip connection in place.
            steps: Of all levels.
            frames: Which.
            total: Frames that there are.
        """
        x, *rooms = rooms
        self.deepest.bound(cells, steps[0].inside(_behind(x)), steps[0].made.start)
        for number, (up, room, step) in enumerate(zip(self._ups, rooms, steps[1:], strict=False)):
            inside = step.inside(_behind(room))
            if step.old:
                inside[:, :, : step.old] = self._kept[number][:, :, -step.old :]
            up.bound(up.cells(x), inside[:, :, step.old :], step.skipped)
            self._kept[number] = inside[:, :, -KEPT:].clone()
            x = room
        coarse, bands = None, 2 * x.shape[1]
        if self._fine is not None and self._coarse is not None:
            above = x[:, self._fine // 2 - ROWS_BEFORE :]
            coarse = self._coarse(above, steps[-1].reads.start, blocks_of(frames), total // 2)
            bands = self._fine + BANDS_BEYOND
        return self._each_cell(x, steps[-1], bands, frames), coarse

    def _each_cell(self, x: Tensor, step: Step, bands: int, frames: range) -> Tensor:
        """Logits of so many of the lowest bands."""
        width = self._last.channels
        sorted_ = Parities(len(x), width, bands, len(frames) + 2 * REACH, like=x)
        begin = step.made.start - (frames.start - REACH)
        inside_rows = slice(begin * width, (begin + len(step.made)) * width)
        for rows in sorted_.insides:  # there is nothing before a song and behind it
            rows[..., : inside_rows.start] = 0
            rows[..., inside_rows.stop :] = 0
        below = x[:, : bands // 2 + 1]
        self._last.write(below, [rows[..., inside_rows] for rows in sorted_.insides], step.skipped)
        return self._head(sorted_)


@dataclass(frozen=True)
class Step:
    """What a level up does for some frames.

    Attributes:
        reads: Columns of its input, one more on either side of those it makes something of; where there are none it
            reads zeros.
        made: Columns of its output that are new.
        holds: Columns of its output that the next level reads, likewise.
        old: How many of them have been made before.
    """

    reads: range
    made: range
    holds: range
    old: int

    @property
    def skipped(self) -> int:
        """Columns that it makes of its input before the first that is wanted, none or one."""
        return self.made.start - 2 * (self.reads.start + 1)

    def inside(self, room: Tensor) -> Tensor:
        """Of `holds`, `[B, F, n, C]`, those columns that there are."""
        begin = self.made.start - self.old - self.holds.start
        return room[:, :, begin : self.made.stop - self.holds.start]


def plan(frames: range, total: int, ups: int, before: Sequence[Step]) -> list[Step]:
    """What the levels of a branch, so many and the last, do for some of all frames after what they did before."""
    holds = range(max(0, frames.start - REACH), min(total, frames.stop + REACH))
    steps: list[Step] = []
    for level in reversed(range(ups + 1)):
        there = _both(holds, range(total))
        # The first level is made at once; to keep frames of the last takes longer than to make them again.
        done = before[level].made.stop if before and 0 < level < ups else there.start
        made = range(done, there.stop)
        reads = range(made.start // 2 - 1, (made.stop - 1) // 2 + 2)
        steps.append(Step(reads, made, holds, done - there.start))
        holds = reads
        total //= 2
    return steps[::-1]


def tiles(frames: slice, ups: int) -> Iterator[range]:
    """Cut frames into parts of about equal length, so that at none of so many levels one of them brings nothing new."""
    length = frames.stop - frames.start
    count = max(1, round(length / max(FRAMES_AT_ONCE, 2 ** (ups + 4))))
    ends = [frames.start + length * number // count // 8 * 8 for number in range(1, count)]
    for begin, end in zip([frames.start, *ends], [*ends, frames.stop], strict=True):
        yield range(begin, end)


def _both(some: range, others: range) -> range:
    """Cells that are among either."""
    start = max(some.start, others.start)
    return range(start, max(start, min(some.stop, others.stop)))


def _at(some: range, cells: range) -> slice:
    """Where some of these cells lie among them."""
    return slice(some.start - cells.start, some.stop - cells.start)


def _whole_room(skip: Skip) -> Tensor:
    """Room for all columns of a skip connection, one of zeros on either side, and what joins it."""
    columns = range(skip[0].shape[2])
    return _joining(skip, columns, range(-1, len(columns) + 1))


def _within(room: Tensor) -> Tensor:
    """Where what joins all columns of a skip connection goes."""
    return _behind(room)[:, :, 1:-1]


def _joining(skip: Skip, there: range, columns: range) -> Tensor:
    """Room for some columns of a skip connection, which are in place, and of what joins it: `[B, F, n, 2 C]`.

    Args:
        skip: A skip connection.
        there: Its columns.
        columns: Which have room; where there are none all is zero.
    """
    batch, _, _, channels = skip[0].shape
    room = skip[0].new_empty(batch, sum(part.shape[1] for part in skip), len(columns), 2 * channels)
    both, row = _both(columns, there), 0
    filled = _at(both, columns)
    for part in skip:
        room[:, row : row + part.shape[1], filled, :channels] = part[:, :, _at(both, there)]
        row += part.shape[1]
    room[:, :, : filled.start] = 0
    room[:, :, filled.stop :] = 0
    return room


def _behind(room: Tensor) -> Tensor:
    """Where the other half of the channels goes."""
    return room[..., room.shape[3] // 2 :]


def _margined(skip: Tensor, rows: range, filled: range) -> tuple[Tensor, Tensor]:
    """Room for what comes after a skip connection, with margins.

    Args:
        skip: `[B, F, N, C]`.
        rows: That there are, with margins.
        filled: Which of these are not zero.

    Returns:
        All, `[B, len(rows), N + 3, C]`, and of it what is to be filled, `[B, len(filled), N * C]`.
    """
    batch, _, frames, channels = skip.shape
    room = skip.new_empty(batch, len(rows), (BEFORE + frames + BEHIND) * channels)
    above, below = filled.start - rows.start, filled.stop - rows.start
    left, right = BEFORE * channels, -BEHIND * channels
    room[:, :above] = 0
    room[:, below:] = 0
    room[..., :left] = 0
    room[..., right:] = 0
    return torch.unflatten(room, 2, (-1, channels)), room[:, above:below, left:right]
