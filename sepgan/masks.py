"""Masks of a spectrogram, one for each cell in the lowest bands and one for each block of cells above.

Low down a band is a note of its own. High up neighbours say the same, in both directions, as a window is four frames
long: masks that are the same for two bands and two frames change little there (docs/networks.md says how much), and
are less work for a network and take less memory after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 2  # bands, and frames, that share a mask
WHOLE = slice(None)


@dataclass(frozen=True)
class Masks:
    """Masks of F bands in N frames, all stems of which sum to one.

    Attributes:
        cells: Of the lowest bands, `[..., F', N]`.
        blocks: Of those above, `[..., ceil((F - F') / BLOCK), N']`; None where there are none.
        bands: F.
        before: Frames of the first block that lie before the first of the N.
    """

    cells: Tensor
    blocks: Tensor | None
    bands: int
    before: int = 0

    @classmethod
    def of_cells(cls, masks: Tensor) -> Masks:
        """A mask for each cell, `[..., F, N]`."""
        return cls(masks, None, masks.shape[-2])

    @property
    def frames(self) -> int:
        """How many there are, N."""
        return self.cells.shape[-1]

    def float(self) -> Masks:
        """The same in float32."""
        blocks = None if self.blocks is None else self.blocks.float()
        return Masks(self.cells.float(), blocks, self.bands, self.before)

    def item(self, number: int) -> Masks:
        """One along the first dimension."""
        blocks = None if self.blocks is None else self.blocks[number]
        return Masks(self.cells[number], blocks, self.bands, self.before)

    def cut(self, frames: slice) -> Masks:
        """Some frames."""
        some = range(self.frames)[frames]
        if self.blocks is None:
            return Masks(self.cells[..., frames], None, self.bands)
        columns = blocks_of(range(some.start + self.before, some.stop + self.before))
        blocks = self.blocks[..., columns.start : columns.stop]
        return Masks(self.cells[..., frames], blocks, self.bands, (some.start + self.before) % BLOCK)

    @property
    def fine(self) -> int:
        """How many of the lowest bands have rows of their own."""
        return self.bands if self.blocks is None else self.cells.shape[-2]

    def rows(self, frames: slice) -> Tensor:
        """A mask for each of the lowest bands and for each `BLOCK` of those above, in some frames: `[..., R, n]`."""
        some = self.cut(frames)
        if some.blocks is None:
            return some.cells[..., : self.bands, :]
        fine, blocks = some.fine, some.blocks
        rows = some.cells.new_empty(*some.cells.shape[:-2], fine + blocks.shape[-2], some.frames)
        rows[..., :fine, :] = some.cells
        for first in range(BLOCK):
            count = len(range(first, some.frames, BLOCK))
            block = (first + some.before) // BLOCK
            rows[..., fine:, first::BLOCK] = blocks[..., block : block + count]
        return rows

    def spread(self, rows: Tensor) -> Tensor:
        """A mask for each cell, `[..., F, n]`, from one for each row."""
        if self.blocks is None:
            return rows
        fine = self.fine
        masks = rows.new_empty(*rows.shape[:-2], fine + BLOCK * (rows.shape[-2] - fine), rows.shape[-1])
        masks[..., :fine, :] = rows[..., :fine, :]
        for band in range(fine, fine + BLOCK):
            masks[..., band::BLOCK, :] = rows[..., fine:, :]
        return masks[..., : self.bands, :]

    def at(self, frames: slice) -> Tensor:
        """A mask for each cell of some frames, `[..., F, n]`."""
        return self.spread(self.rows(frames))


def blocks_of(frames: range) -> range:
    """Columns of the blocks that some frames lie in.

    >>> blocks_of(range(3, 9))
    range(1, 5)
    """
    return range(frames.start // BLOCK, -(-frames.stop // BLOCK))


def in_rows(bands: Tensor, fine: int) -> Tensor:
    """Sum up bands that share masks: `[..., F, N]` to `[..., R, N]`, rows as of `Masks.rows`.

    Args:
        bands: Of something that adds up, such as energy.
        fine: How many of the lowest are rows of their own.

    >>> in_rows(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), 1).T
    tensor([[1., 5., 4.]])
    """
    above = bands[..., fine:, :]
    if not above.shape[-2]:
        return bands
    whole = torch.unflatten(functional.pad(above, (0, 0, 0, -above.shape[-2] % BLOCK)), -2, (-1, BLOCK))
    return torch.cat([bands[..., :fine, :], whole.sum(-2)], dim=-2)


def in_blocks(masks: Tensor, fine: int) -> Tensor:
    """Give all cells of a block the mask of the one whose band and frame are odd.

    Args:
        masks: `[..., F, N]`; they are changed.
        fine: Bands whose masks stay as they are.
    """
    coarse = masks[..., fine:, :]
    for axis in (-2, -1):
        last = coarse.shape[axis] - 1
        cells = torch.arange(last + 1, device=masks.device)
        coarse = coarse.index_select(axis, (cells // BLOCK * BLOCK + 1).clamp_max(last))
    masks[..., fine:, :] = coarse
    return masks
