"""One mask for a block of two bands and two frames: what the last levels of a branched U-Net say of one of its cells.

A head dilated by two reads, for a cell of odd band and odd frame, the level at the full resolution at even bands and
even frames alone. So what both say of these cells are plain convolutions at half the resolution, with a tenth of the
work: of the five by five taps of that level two by two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.models.branched_folded import bounds, folded_kernel, taps_of
from sepgan.models.branched_levels import Up
from sepgan.models.parities import TAPS, turned

ROWS_BEFORE = 3  # of half the resolution, that blocks look at below them


class CoarseEnd:
    """The level at the full resolution and a head, for one cell of each block.

    Args:
        level: As it was trained.
        head: Of kernel 4 x 4, dilated by two.
        dtype: Of what it reads.
        at_once: Rows that are made together, as channels: one, or two, which fill the vectors of a CPU and take less
            time, if more work.
    """

    def __init__(self, level: Up, head: nn.Conv2d, dtype: torch.dtype, at_once: int = 1) -> None:
        self._at_once = at_once
        # A row of blocks reads the level from the row before it on, which is somewhere among those made at once.
        self._lead = at_once - 1
        kernel, bound = taps_of(folded_kernel(level), 0, 0), bounds(level, dtype)
        width, size = kernel.shape[:2]
        weight = kernel.new_zeros(at_once, width, size, 1 + at_once, 2)
        reads = (self._lead + at_once + TAPS - 2) // at_once + 1
        taps = head.weight.new_zeros(at_once, len(head.weight), reads, at_once, width, TAPS)
        for row in range(at_once):
            weight[row, :, :, row : row + 2] = kernel
            for tap in range(TAPS):
                place = self._lead + row + tap
                taps[row, :, place // at_once, place % at_once] = head.weight[:, :, tap]
        self._weight = weight.flatten(0, 1).to(dtype, memory_format=torch.channels_last)
        self._bias, self._low, self._high = (each.repeat(at_once) for each in bound)
        taps = taps.flatten(0, 1).permute(0, 2, 3, 1, 4).flatten(1, 2)
        self._head = taps.to(dtype, memory_format=torch.channels_last)
        self._head_bias = None if head.bias is None else head.bias.repeat(at_once).to(dtype)
        self._turning = torch.eye(len(self._head), dtype=dtype, device=self._head.device)

    def __call__(self, x: Tensor, first: int, wanted: range, total: int) -> Tensor:
        """Logits of some blocks, without gradients.

        Args:
            x: Columns of half the resolution, `[B, ROWS_BEFORE + F, n, C]`, to the highest band.
            first: Number of the first of them; it may be -1, with zeros.
            wanted: Columns of blocks; x has two before them and two behind, where there are any.
            total: Columns that there are.

        Shape:
            `[B, R, O, F / R, len(wanted)]`: rows of blocks sorted by which of the R that are made at once they are.
        """
        x = x[:, ROWS_BEFORE - 2 - self._lead :].permute(0, 3, 1, 2)
        made = functional.conv2d(x, self._weight, self._bias, stride=(self._at_once, 1)).permute(0, 2, 3, 1)
        batch, rows, _, channels = made.shape
        reads = range(wanted.start - 1, wanted.stop + TAPS - 2)
        there = range(max(0, reads.start), min(total, reads.stop))
        # There is nothing above the highest band, before a song and behind it.
        room = made.new_empty(batch, rows + self._head.shape[2] - 2, len(reads), channels)
        left, right = there.start - reads.start, there.stop - reads.start
        room[:, rows:] = 0
        room[:, :, :left] = 0
        room[:, :, right:] = 0
        begin = there.start - (first + 1)
        low, high = self._low.to(made.dtype), self._high.to(made.dtype)
        torch.clamp(made[:, :, begin : begin + len(there)], low, high, out=room[:, :rows, left:right])
        said = functional.conv2d(room.permute(0, 3, 1, 2), self._head, self._head_bias)
        return torch.unflatten(turned(said, self._turning), 1, (self._at_once, -1))
