"""Streamed, a branched U-Net gives the masks that its levels give one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sepgan.masks import in_blocks
from sepgan.models import build_generator
from sepgan.models.branched import BranchedUNet
from sepgan.models.branched_streamed import FRAMES_AT_ONCE, KEPT, plan, tiles
from sepgan.recipe import GeneratorRecipe

ROUNDING = 2e-5  # absolute difference of masks that are computed in another order
BF16 = 0.05  # the same with eight bits
FINE = 32  # bands with a mask for each cell


def make(stems: int = 4, **keys: Any) -> BranchedUNet:
    """One whose every parameter matters: gains of both signs and none, offsets and biases."""
    torch.manual_seed(0)
    defaults = {"widths": (4, 6, 8, 12), "bottleneck": 10, "branches": (3, 1), "full_resolution": True, "nested": True}
    network = build_generator(GeneratorRecipe(kind="branched", dropout=0.0, **defaults | keys), stems, 64).eval()
    assert isinstance(network, BranchedUNet)
    for name, weights in network.named_parameters():
        if weights.ndim == 1:
            torch.nn.init.uniform_(weights, -0.7, 0.9)
            if name.endswith("affine.weight"):
                weights.data[0] = 0.0
    return network


def magnitudes(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 3


SHAPES = [
    {},
    {"widths": (4, 6, 8)},
    {"widths": (4, 5, 6, 7, 8, 9)},
    {"nested": False},
    {"branches": (1, 2, 1)},
    {"branches": (2, 1), "nested": False},
    {"channels": 1, "head_width": 5},
    {"branches": (4,), "nested": False, "head_width": 4},
]


@pytest.mark.parametrize("keys", SHAPES)
@pytest.mark.parametrize("frames", [1, 70, 3 * FRAMES_AT_ONCE + 9])
def test_masks_are_those_of_the_levels_one_after_the_other(keys: dict[str, Any], frames: int) -> None:
    network = make(**keys)
    x = magnitudes(2, network.channels, 61, frames)
    with torch.no_grad():
        whole = network(x)
    assert float(whole.std()) > 0.01
    with torch.inference_mode():
        torch.testing.assert_close(network(x), whole, rtol=0, atol=ROUNDING)
        for some in (slice(0, 1), slice(frames - 1, frames), slice(frames // 3, frames - frames // 4)):
            torch.testing.assert_close(network.some(x, some), whole[..., some], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("keys", SHAPES)
@pytest.mark.parametrize(("bands", "frames"), [(64, 1), (61, 70), (128, 3 * FRAMES_AT_ONCE + 9)])
def test_blocks_have_the_masks_of_their_odd_cells(keys: dict[str, Any], bands: int, frames: int) -> None:
    network = make(**keys)
    x = magnitudes(2, network.channels, bands, frames)
    filled = torch.nn.functional.pad(x, (0, -frames % network.grid, 0, -bands % network.grid))
    with torch.no_grad():
        each_cell = network(filled)
    wanted = in_blocks(each_cell.clone(), FINE)[..., :bands, :frames]
    assert torch.equal(wanted[..., :FINE, :], each_cell[..., :FINE, :frames])
    assert float((wanted - each_cell[..., :bands, :frames]).abs().max()) > 0.01
    assert torch.equal(wanted[..., FINE + 1, 1::2], each_cell[..., FINE + 1, :frames][..., 1::2])
    for some in (slice(0, frames), slice(0, 1), slice(frames // 3, frames - frames // 4), slice(frames - 1, frames)):
        with torch.no_grad():
            torch.testing.assert_close(network.some(x, some, FINE), wanted[..., some], rtol=0, atol=ROUNDING)
        with torch.inference_mode():
            torch.testing.assert_close(network.some(x, some, FINE), wanted[..., some], rtol=0, atol=ROUNDING)


def test_no_band_is_in_a_block_where_all_are_fine() -> None:
    network, x = make(), magnitudes(1, 2, 40, 70)  # filled up to 64 bands
    with torch.inference_mode():
        assert torch.equal(network.some(x, slice(0, 70), 64), network(x))


@pytest.mark.parametrize("bands", [1, 30, 64])
def test_bands_and_frames_that_fill_a_small_part_of_the_grid(bands: int) -> None:
    network = make(widths=(4, 5, 6, 7, 8, 9))
    x = magnitudes(1, 2, bands, 3)
    with torch.no_grad():
        whole = network(x)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), whole, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("fine", [None, 64])
@pytest.mark.parametrize("nested", [True, False])
def test_masks_of_some_frames_are_those_of_all_to_the_last_bit(nested: bool, fine: int | None) -> None:
    """Where levels are decided by who is the most alike, the last bit may decide."""
    network = make(nested=nested, widths=(16, 32, 64, 128), head_width=8)
    x = magnitudes(1, 2, 128, 700)
    with torch.inference_mode():
        whole = network.some(x, slice(0, 700), fine)
        for some in (slice(0, 1), slice(77, 300), slice(258, 645), slice(699, 700)):
            torch.testing.assert_close(network.some(x, some, fine), whole[..., some], rtol=0, atol=0)


@pytest.mark.parametrize("fine", [None, FINE])
def test_with_less_precision_they_are_near(fine: int | None) -> None:
    network, x = make(), magnitudes(1, 2, 64, 300)
    with torch.inference_mode():
        exact = network.some(x, slice(0, 300), fine)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network.some(x, slice(0, 300), fine)
            plain = network.train().some(x, slice(0, 300), fine)  # without dropout
    assert rough.dtype == torch.float32
    for found in (rough, plain):
        assert 0 < float((found - exact).abs().max()) <= BF16


@pytest.mark.parametrize("ups", [1, 2, 3, 5])
def test_every_level_makes_something_new_for_each_tile_and_has_kept_what_it_needs_again(ups: int) -> None:
    grid = 2 ** (ups + 4)
    for total in (grid, 3 * grid, grid * (1 + 2000 // grid)):
        for start in (0, 1, total // 2, total - 1):
            for stop in {start + 1, min(start + 257, total), total - 1, total}:
                if stop > start:
                    _check(total, slice(start, stop), ups)


def _check(total: int, frames: slice, ups: int) -> None:
    parts = list(tiles(frames, ups))
    assert [part.start for part in parts] == [frames.start, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == frames.stop
    steps: list[Any] = []
    for part in parts:
        before, steps = steps, plan(part, total, ups, steps)
        for level, step in enumerate(steps):
            columns = total >> (ups + 1 - level)  # of what it reads
            there = range(max(0, step.holds.start), min(2 * columns, step.holds.stop))
            assert [*there] == [*there[: step.old], *step.made]
            assert step.made
            # Two columns become two of each of those between them, one of which on either side may be none.
            assert step.skipped in (0, 1)
            assert 2 * (len(step.reads) - 2) - step.skipped >= len(step.made)
            assert -1 <= step.reads.start < step.reads.stop <= columns + 1
            if step.old:
                assert step.old <= min(KEPT, before[level].old + len(before[level].made))
                assert step.made.start == before[level].made.stop
