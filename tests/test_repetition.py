"""Averages over similar moments: what they are by hand, what must hold of them, and that they are worth taking."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sepgan import repetition
from sepgan.masks import BLOCK, WHOLE, Masks
from sepgan.repetition import APART_S, FALL, NEIGHBOURS, SINGLE, TOGETHER, Grid, find_gains

FRAMES_PER_S = 43.0
BANDS = 40
GRID = Grid(torch.linspace(0, 8000, BANDS), FRAMES_PER_S)
SUM_ERROR = 1e-5  # of masks that sum to one
NEARER_DB = 1.0  # at least, for half of what is averaged here is noise
BY_HAND = 1e-4  # of masks; single precision, and the sums in another order


def guess(channels: int = 2, frames: int = 60, stems: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Masks `[1, S, C, K, N]` that sum to one, and magnitudes `[1, C, K, N]`."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.softmax(2 * torch.randn(1, stems, channels, BANDS, frames, generator=generator), dim=1)
    return masks, torch.rand(1, channels, BANDS, frames, generator=generator)


def averaged(masks: Tensor, seen: Tensor, stems: Sequence[int] = (0, 1, 2), passes: int = 2) -> Tensor:
    return find_gains(Masks.of_cells(masks), seen, stems, passes, GRID).divide(masks, slice(None))


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("passes", [1, 3])
def test_sums_stay(channels: int, passes: int) -> None:
    masks, seen = guess(channels)
    after = averaged(masks, seen, passes=passes)
    assert float((after.sum(1) - 1).abs().max()) <= SUM_ERROR
    assert bool((after >= 0).all())
    assert float((after - masks).abs().amax((0, 2, 3, 4)).min()) > 0.1, "all stems share what the means leave over"


def test_complex_masks_keep_their_sum() -> None:
    masks, seen = guess()
    turned = masks * torch.exp(1j * torch.randn(masks.shape, generator=torch.Generator().manual_seed(1)))
    turned[:, 0] += 1 - turned.sum(1)
    after = averaged(turned, seen * torch.exp(1j * seen))
    assert float((after.sum(1) - 1).abs().max()) <= SUM_ERROR
    assert float((after - turned).abs().max()) > 0.1


def test_real_masks_do_the_same_as_complex_ones() -> None:
    masks, seen = guess()
    after = averaged(masks.to(torch.complex64), seen.to(torch.complex64))
    assert float(after.imag.abs().max()) == 0.0
    assert float((after.real - averaged(masks, seen)).abs().max()) <= BY_HAND


def test_nothing_to_do_changes_nothing() -> None:
    masks, seen = guess()
    assert torch.equal(averaged(masks, seen, passes=0), masks)
    assert torch.equal(averaged(masks, seen, stems=()), masks)


def mean_by_hand(level: NDArray[np.float32], like: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frame by frame, of a level `[N, K]`, over the frames that are alike in another."""
    pooled = np.sqrt(like @ repetition._pools(GRID.centres_hz).numpy().T)
    before, after, apart = round(0.07 * FRAMES_PER_S), round(0.12 * FRAMES_PER_S), round(APART_S * FRAMES_PER_S)
    padded = np.pad(pooled, ((before, after), (0, 0)))
    around = np.stack([padded[frame : frame + before + 1 + after].ravel() for frame in range(len(level))])
    norms = np.linalg.norm(around, axis=1, keepdims=True)
    around /= norms + 1e-3 * np.sort(norms.ravel())[(len(level) - 1) // 2]  # torch takes the lower one of the middle
    mean = np.empty_like(level)
    for frame in range(len(level)):
        on = frame % TOGETHER  # it has the neighbours of a frame before it, each as many frames on
        asked = frame - on
        alike = {other: around[asked] @ around[other] for other in range(len(level)) if abs(other - asked) >= apart}
        best = sorted(alike, key=lambda other: alike[other], reverse=True)[:NEIGHBOURS]
        inside = [other + on < len(level) for other in best]
        weights = np.exp(FALL * (np.array([alike[other] for other in best]) - 1)) * inside
        share = weights.mean()
        places = [min(other + on, len(level) - 1) for other in best]
        mean[frame] = share * (weights @ level[places]) / weights.sum() + (1 - share) * level[frame]
    return mean


def test_two_passes_by_hand() -> None:
    masks, seen = guess(channels=2, frames=40, stems=3)
    first = [(masks[0, stem] * seen[0]).square().sum(0).sqrt().T.numpy() for stem in range(3)]  # [N, K]
    floor = 1e-6 * max(level.max() for level in first)
    means = [*(mean_by_hand(level, level) for level in first[:2]), first[2]]
    kept = (sum(first) + floor) / (sum(means) + floor)
    once = [mean * kept for mean in means]

    def divided(levels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        gains = [((level + floor) / (before + floor)).T for level, before in zip(levels, first, strict=True)]
        gained = np.stack([mask.numpy() * gain for mask, gain in zip(masks[0], gains, strict=True)])
        return np.asarray(gained / gained.sum(0))

    assert np.abs(averaged(masks, seen, (0, 1), 1)[0].numpy() - divided(once)).max() <= BY_HAND
    # Once more, over the neighbours of the first pass; the third stem takes no part.
    means = [mean_by_hand(level, like) for level, like in zip(once[:2], first, strict=False)]
    kept = (once[0] + once[1] + floor) / (sum(means) + floor)
    twice = [*(mean * kept for mean in means), once[2]]
    assert np.abs(averaged(masks, seen, (0, 1), 2)[0].numpy() - divided(twice)).max() <= BY_HAND


def test_high_bands_gain_or_lose_in_groups_of_an_octave() -> None:
    """Each by itself up to `SINGLE`, then two at a time, then four; what is left over at the end is a group."""
    widths = [1] * SINGLE + [2] * (SINGLE // 2) + [4] * 5 + [3]
    bands, generator = sum(widths), torch.Generator().manual_seed(7)
    masks = torch.softmax(torch.randn(1, 3, 2, bands, 30, generator=generator), dim=1)
    seen = 0.1 + torch.rand(1, 2, bands, 30, generator=generator)
    gains = find_gains(Masks.of_cells(masks), seen, (0, 1), 2, Grid(10.0 * torch.arange(bands), FRAMES_PER_S))
    divided = gains.divide(masks, slice(None))
    assert float((divided.sum(1) - 1).abs().max()) <= SUM_ERROR
    assert gains.values.shape == (1, 3, len(widths), 30)
    more = (divided / masks)[:, :2] / (divided / masks)[:, 2:]  # without what makes them sum to one
    groups = torch.split(more, widths, dim=3)
    assert max(float((group / group[:, :, :1, :1] - 1).abs().max()) for group in groups) <= BY_HAND
    firsts = torch.stack([group[:, :, 0, 0] for group in groups], dim=2)
    assert float((firsts[:, :, 1:] / firsts[:, :, :-1] - 1).abs().min(2).values.max()) > 0, "and groups differ"
    level = (masks[0, 1] * seen[0]).square()[:, SINGLE : SINGLE + 2].sum(0).mean(0).sqrt()  # the first group of two
    octaves = repetition._octaves(bands, bands)
    found = repetition._levels(Masks.of_cells(masks[0]), seen[0], octaves)[1, :, SINGLE]
    assert float((found - level).abs().max()) <= BY_HAND


def in_parts(masks: Tensor, fine: int) -> Masks:
    """Masks of cells in the lowest bands, of blocks above."""
    return Masks(masks[..., :fine, :], masks[..., fine::BLOCK, ::BLOCK], masks.shape[-2])


@pytest.mark.parametrize(("bands", "fine"), [(300, SINGLE), (301, SINGLE + 2), (259, 256), (40, 40)])
def test_blocks_gain_what_their_cells_do(bands: int, fine: int) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.softmax(2 * torch.randn(1, 3, 2, bands, 31, generator=generator), dim=1)
    seen = torch.rand(1, 2, bands, 31, generator=generator)
    blocks, grid = in_parts(masks, fine), Grid(10.0 * torch.arange(bands), FRAMES_PER_S)
    whole = blocks.at(WHOLE)
    found, wanted = (find_gains(some, seen, (0, 1), 2, grid, patterns=True) for some in (blocks, Masks.of_cells(whole)))
    assert float((found.values - wanted.values).abs().max()) <= BY_HAND
    divided = blocks.spread(found.divide(blocks.rows(WHOLE), WHOLE))
    assert float((divided - wanted.divide(whole, WHOLE)).abs().max()) <= BY_HAND
    assert float((divided - whole).abs().max()) > 0.1


@pytest.mark.parametrize("fine", [1, 33, 100])
def test_groups_above_the_finest_bands_are_of_whole_blocks(fine: int) -> None:
    bands = 303
    octaves = repetition._octaves(bands, fine)
    assert [octave.rows.start for octave in octaves] == [0, *(octave.rows.stop for octave in octaves[:-1])]
    assert [octave.groups.start for octave in octaves] == [0, *(octave.groups.stop for octave in octaves[:-1])]
    assert octaves[-1].rows.stop == in_parts(torch.zeros(bands, 4), fine).rows(WHOLE).shape[0]
    assert sum((octave.groups.stop - octave.groups.start) * octave.width for octave in octaves) == bands
    masks = torch.softmax(torch.randn(1, 3, 1, bands, 40, generator=torch.Generator().manual_seed(0)), dim=1)
    gains = find_gains(
        in_parts(masks, fine), masks[:, 0], (0, 1), 1, Grid(10.0 * torch.arange(bands), FRAMES_PER_S), patterns=True
    )
    divided = gains.divide(in_parts(masks, fine).rows(WHOLE), WHOLE)
    assert float((divided.sum(1) - 1).abs().max()) <= SUM_ERROR


def test_what_is_not_heard_stays_and_has_no_say() -> None:
    masks, seen = guess(frames=60)
    part = slice(10, 50)
    divided = find_gains(Masks.of_cells(masks), seen, (0, 1, 2), 2, GRID, [part]).divide(masks, slice(None))
    alone = averaged(masks[..., part], seen[..., part])
    assert float((divided[..., part] - alone).abs().max()) <= BY_HAND
    assert float((divided[..., :10] - masks[..., :10]).abs().max()) <= SUM_ERROR
    assert float((divided[..., 50:] - masks[..., 50:]).abs().max()) <= SUM_ERROR


def test_frames_may_be_divided_by_and_by() -> None:
    masks, seen = guess()
    gains = find_gains(Masks.of_cells(masks), seen, (0, 1, 2), 2, GRID)
    parts = [gains.divide(masks[..., begin : begin + 7], slice(begin, begin + 7)) for begin in range(0, 60, 7)]
    assert torch.equal(torch.cat(parts, dim=-1), gains.divide(masks, slice(None)))


def test_a_beat_that_returns_is_nearer_the_truth() -> None:
    """Drums repeat beside a part that does not, and masks are wrong in another way each time."""
    generator = torch.Generator().manual_seed(3)
    beat = torch.rand(BANDS, 20, generator=generator) * torch.exp(-torch.arange(20) / 4)
    drums = beat.repeat(1, 12)[None, None]  # [1, 1, K, N]
    line = torch.rand(1, 1, BANDS, 240, generator=generator)
    seen = drums + line
    truth = torch.stack([drums / seen, line / seen], dim=1)
    wrong = 0.8 * torch.randn(truth[:, :1].shape, generator=generator)
    guessed = torch.sigmoid(torch.logit(truth[:, :1]) + wrong)
    masks = torch.cat([guessed, 1 - guessed], dim=1)

    def error_db(found: Tensor) -> float:
        difference = (found[:, 0] - truth[:, 0]) * seen
        return float(10 * torch.log10(difference.square().sum() / drums.square().sum()))

    assert error_db(averaged(masks, seen, stems=(0, 1))) < error_db(masks) - NEARER_DB


@pytest.mark.parametrize("frames", [1, 2, 5, 12])
def test_short_and_silent_music_is_finite(frames: int) -> None:
    masks, seen = guess(frames=frames)
    for level in (0.0, 1e-20, 1.0, 1e6):
        after = averaged(masks, level * seen)
        assert bool(after.isfinite().all())
        assert float((after.sum(1) - 1).abs().max()) <= SUM_ERROR
    changed = float((averaged(masks, seen) - masks).abs().max())
    assert (changed <= SUM_ERROR) == (frames <= round(APART_S * FRAMES_PER_S)), "no two frames are apart"


def test_level_does_not_matter() -> None:
    masks, seen = guess()
    assert float((averaged(masks, seen) - averaged(masks, 1000 * seen)).abs().max()) <= BY_HAND


def test_how_much_is_held_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, seen = guess()
    wanted = averaged(masks, seen)
    monkeypatch.setattr(repetition, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(repetition, "FRAMES_AT_ONCE", 3)
    assert float((averaged(masks, seen) - wanted).abs().max()) <= BY_HAND


def test_items_of_a_batch_do_not_know_of_each_other() -> None:
    first, second = guess(seed=1), guess(seed=2)
    together = averaged(torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]))
    assert float((together - torch.cat([averaged(*first), averaged(*second)])).abs().max()) <= BY_HAND


def test_patterns_divide_the_lowest_bands_once_more() -> None:
    bands, generator = SINGLE + 20, torch.Generator().manual_seed(4)
    masks = torch.softmax(torch.randn(1, 3, 2, bands, 60, generator=generator), dim=1)
    seen = 0.1 + torch.rand(1, 2, bands, 60, generator=generator)
    grid = Grid(10.0 * torch.arange(bands), FRAMES_PER_S)
    before = find_gains(Masks.of_cells(masks), seen, (0, 1), 2, grid).divide(masks, slice(None))
    after = find_gains(Masks.of_cells(masks), seen, (0, 1), 2, grid, patterns=True).divide(masks, slice(None))
    assert float((after.sum(1) - 1).abs().max()) <= SUM_ERROR
    assert float((after - before)[..., SINGLE:, :].abs().max()) <= BY_HAND
    assert float((after - before)[..., :SINGLE, :].abs().amax((0, 2, 3, 4)).min()) > 0.01, "of all stems, vocals too"
    none = find_gains(Masks.of_cells(masks), seen, (), 2, grid, patterns=True).divide(masks, slice(None))
    assert torch.equal(none, masks)
