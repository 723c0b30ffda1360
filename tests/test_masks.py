"""Masks of cells and of blocks say the same in whatever parts they are read."""

import pytest
import torch
from torch import Tensor

from sepgan.masks import BLOCK, WHOLE, Masks, blocks_of, in_blocks

FINE, BANDS, FRAMES = 4, 11, 13


def whole(bands: int = BANDS, frames: int = FRAMES) -> Tensor:
    return torch.rand(2, 3, 1, bands, frames, generator=torch.Generator().manual_seed(0))


def held(masks: Tensor, before: int) -> Masks:
    """What stands for the frames behind `before`, and every band but the last of an even number."""
    return Masks(
        masks[..., :FINE, before:], masks[..., FINE + 1 :: BLOCK, 1::BLOCK], masks.shape[-2] - 1, before % BLOCK
    )


def test_all_cells_of_a_block_have_the_mask_of_its_odd_one() -> None:
    before = whole(BANDS + 1, FRAMES + 1)
    after = in_blocks(before.clone(), FINE)
    assert torch.equal(after[..., :FINE, :], before[..., :FINE, :])
    for band in range(FINE, BANDS + 1):
        for frame in range(FRAMES + 1):
            odd = before[..., band // 2 * 2 + 1, frame // 2 * 2 + 1]
            assert torch.equal(after[..., band, frame], odd)


def test_a_block_without_an_odd_cell_has_the_mask_of_its_last_one() -> None:
    before = whole(FINE + 1, 3)
    after = in_blocks(before.clone(), FINE)
    assert torch.equal(after[..., FINE, 2], before[..., FINE, 2])
    assert torch.equal(after[..., FINE, 0], before[..., FINE, 1])


@pytest.mark.parametrize("before", [0, 1])
def test_some_frames_are_those_of_all(before: int) -> None:
    cells = whole(BANDS + 1, FRAMES + 1)
    wanted = in_blocks(cells.clone(), FINE)[..., :BANDS, before:]
    masks = held(cells, before)
    assert masks.frames == FRAMES + 1 - before
    assert torch.equal(masks.at(WHOLE), wanted)
    assert torch.equal(masks.item(1).at(WHOLE), wanted[1])
    for begin in range(masks.frames):
        for end in range(begin + 1, masks.frames + 1):
            some = slice(begin, end)
            assert torch.equal(masks.at(some), wanted[..., some])
            assert torch.equal(masks.cut(some).at(WHOLE), wanted[..., some])
    assert torch.equal(masks.cut(slice(1, 9)).cut(slice(2, 5)).at(slice(1, 3)), wanted[..., 4:6])


@pytest.mark.parametrize("before", [0, 1])
def test_bands_that_share_masks_are_one_row(before: int) -> None:
    cells = whole(BANDS + 1, FRAMES + 1)
    wanted = in_blocks(cells.clone(), FINE)[..., before:]
    masks = held(cells, before)
    rows = masks.rows(WHOLE)
    assert masks.fine == FINE
    for bands in (1, FINE):
        assert torch.equal(rows[..., :bands, :], wanted[..., :bands, :])
    assert torch.equal(rows[..., FINE:, :], wanted[..., FINE::BLOCK, :])
    for bands in (FINE + 1, BANDS):
        assert torch.equal(masks.spread(rows)[..., :bands, :], wanted[..., :bands, :])
    assert torch.equal(masks.rows(slice(2, 3)), rows[..., 2:3])
    assert Masks.of_cells(cells).fine == BANDS + 1
    for bands in (1, FINE, FINE + 1, BANDS):
        assert torch.equal(Masks.of_cells(cells).rows(WHOLE)[..., :bands, :], cells[..., :bands, :])


def test_less_precision_is_given_up_in_both_parts() -> None:
    masks = held(whole(BANDS + 1, FRAMES + 1).half(), 1).float()
    assert masks.cells.dtype == torch.float32
    assert masks.at(WHOLE).dtype == torch.float32
    assert Masks.of_cells(whole().half()).float().cells.dtype == torch.float32


def test_blocks_of_frames_reach_over_both_ends() -> None:
    assert [*blocks_of(range(2, 4))] == [1]
    assert [*blocks_of(range(1, 5))] == [0, 1, 2]
