"""Averages of masked stems over moments that sound alike.

Music repeats itself: a bar comes again, a drum is struck the same way a hundred times. What a network gets wrong
differs each time, with what else is played, so the mean over a stem's similar moments is nearer the truth than any of
them. Similar frames are found as REPET-SIM does (Rafii and Pardo, "Music/voice separation using the similarity matrix",
ISMIR 2012), their weighted mean is that of non-local means (Buades, Coll and Morel, CVPR 2005), and it is taken of each
stem by its own estimate, as in a kernel additive model (Liutkus et al., IEEE Transactions on Signal Processing, 2014).
What is repeated in other company each time is found by patterns then (`sepgan.nmfd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sepgan.masks import BLOCK, WHOLE, Masks, in_rows
from sepgan.nmfd import share_by_patterns

NEIGHBOURS = 10  # frames in a mean
BEFORE_S, AFTER_S = 0.07, 0.12  # around a frame, compared with it: an attack and what rings after it
APART_S = 0.08  # closer frames are the same sound, not its repetition
FALL = 2.0  # of the weight with the distance: a frame at right angles counts exp(-FALL)
POOLS, LOWEST_HZ, HIGHEST_HZ, WIDTH_OCTAVES = 24, 40.0, 11000.0, 0.15  # what frames are compared by
SINGLE = 128  # of the lowest bands gain or lose by themselves; above, with each octave, twice as many do together
TOGETHER = 2  # frames that share their neighbours, each one frame on: the next frame of what is alike is alike too
ROWS_AT_ONCE = 256  # of the similarity matrix, which is never held whole
FRAMES_AT_ONCE = 256  # so that what is made of some of them stays in a cache
_EPS = 1e-9
_NOTHING = 1e-30


@dataclass(frozen=True)
class Grid:
    """Where bands and frames lie.

    Attributes:
        centres_hz: Of the bands, `[K]`.
        frames_per_s: How many.
    """

    centres_hz: Tensor
    frames_per_s: float


@dataclass(frozen=True)
class Octave:
    """Bands that are levelled in groups of equal width.

    Attributes:
        rows: Their rows, in which those that share masks are one (`sepgan.masks`).
        groups: Their numbers among all groups.
        height: Rows in a group.
        width: Bands in a group.
    """

    rows: slice
    groups: slice
    height: int
    width: int


@dataclass(frozen=True)
class Gains:
    """What masks are multiplied by before they are made to sum to what they did.

    Attributes:
        values: `[B, S, G, N]`, from 0 to 1.
        octaves: Which rows the G groups are of.
    """

    values: Tensor
    octaves: Sequence[Octave]

    def lowest(self, bands: int) -> Gains:
        """Those of so many of the lowest bands, where each is a group of its own."""
        return Gains(self.values[:, :, :bands], [Octave(slice(0, bands), slice(0, bands), 1, 1)])

    def divide(self, masks: Tensor, frames: slice) -> Tensor:
        """Give each stem its new share of some frames, `[B, S, C, R, n]`, whose sum over S stays but for rounding."""
        divided = torch.empty_like(masks)
        for octave in self.octaves:
            old = _grouped(masks[..., octave.rows, :], octave).unbind(1)  # [B, C, G, height, n] each
            new = _grouped(divided[..., octave.rows, :], octave).unbind(1)
            for mask, gain, place in zip(old, self.values[:, :, octave.groups, frames].unbind(1), new, strict=True):
                torch.mul(mask, gain[:, None, :, None], out=place)
            before, after = _total(old), _total(new)
            if masks.is_complex():  # what the gains leave over, or take too much, by size
                sizes = [mask.abs() for mask in new]
                rest = (before - after) / (_total(sizes) + _NOTHING)
                for mask, size in zip(new, sizes, strict=True):
                    mask += rest * size
            else:  # none is below zero, so that a factor does
                factor = before / (after + _NOTHING)
                for mask in new:
                    mask *= factor
        return divided


def find_gains(
    masks: Masks,
    seen: Tensor,
    stems: Sequence[int],
    passes: int,
    grid: Grid,
    heard: Sequence[slice] | None = None,
    *,
    patterns: bool = False,
) -> Gains:
    """Divide the mixture anew, with some stems by the means of their similar moments and the others as they are.

    Args:
        masks: Real or complex, `[B, S, C, K, N]`.
        seen: What they are masks of, complex or its magnitudes, `[B, C, K, N]`.
        stems: Numbers of those that are averaged. What their means leave over, or lack, all stems share by size.
        passes: How often; neighbours are found once, for one more pass reaches their neighbours. From the second on the
            averaged stems share among themselves: the others have had their due, and more of it would be too much.
        grid: Of the last two axes.
        heard: Frames of each item among which what is alike is found; others stay as they are. None for all.
        patterns: Divide the lowest bands, where most of the energy of drums and bass lies, once more by patterns that
            all stems are sums of; those of the averaged stems go on learning from the mixture.
    """
    octaves = _octaves(seen.shape[-2], masks.fine)
    lowest = slice(0, _octaves(min(SINGLE, seen.shape[-2]), masks.fine)[-1].groups.stop)
    pools = in_rows(_pools(grid.centres_hz.to(seen.device))[..., None], masks.fine)
    pools = torch.cat([_grouped(pools[:, octave.rows], octave).sum((2, 3)) for octave in octaves], dim=1)
    values = seen.new_ones(*masks.cells.shape[:2], pools.shape[1], masks.frames, dtype=torch.float32)
    for number, frames in enumerate([WHOLE] * len(seen) if heard is None else heard):
        gains = values[number, ..., frames]  # [S, G, n]
        first = _levels(masks.item(number).cut(frames), seen[number, ..., frames], octaves)
        near = {stem: _neighbours(first[stem] @ pools.T, grid.frames_per_s) for stem in stems}
        levels, floor = list(first), 1e-6 * first.amax() + _NOTHING  # silence, and not nothing where all is silent
        sharing: Sequence[int] = range(len(first))
        for _ in range(passes if stems else 0):
            means = [_mean(levels[stem], *near[stem]) if stem in near else levels[stem] for stem in sharing]
            kept = (_total([levels[stem] for stem in sharing]) + floor) / (_total(means) + floor)
            for stem, mean in zip(sharing, means, strict=True):
                levels[stem] = mean * kept
            sharing = stems
        if patterns and stems:
            shared = share_by_patterns(torch.stack(levels)[..., lowest], stems, grid.frames_per_s)
            for level, new in zip(levels, shared, strict=True):
                level[:, lowest] = new
        for gain, new, old in zip(gains, levels, first, strict=True):
            gain.copy_(((new + floor) / (old + floor)).T)
        gains /= gains.amax(0)  # what is large would leave nothing exact of the sum
    return Gains(values, octaves)


def _octaves(bands: int, fine: int) -> list[Octave]:
    """Sort bands into groups, the higher the wider: neither the ear nor the mean needs each by itself.

    Args:
        bands: How many.
        fine: So many of the lowest have rows of their own; those above are in groups of rows.
    """
    octaves: list[Octave] = []
    first = rows = groups = 0
    width, end = 1, SINGLE
    while first < bands:
        each = 1 if first < fine else BLOCK  # bands in a row
        last = min(bands, fine if first < fine < end else end + (fine - end) % each)
        widest = max(width, each)
        for wide in (widest, (last - first) % widest):  # and what is left at the end, as one group
            count = (last - first) // wide if wide else 0
            if count:
                height = -(-wide // each)
                places = slice(rows, rows + count * height), slice(groups, groups + count)
                octaves.append(Octave(*places, height, wide))
                first, rows, groups = first + count * wide, places[0].stop, places[1].stop
        if first >= end:
            width, end = 2 * width, 2 * end
    return octaves


def _grouped(rows: Tensor, octave: Octave) -> Tensor:
    """Views of an octave's rows `[..., R, N]`, group by group: `[..., G, height, N]`."""
    return torch.unflatten(rows, -2, (-1, octave.height))


def _levels(masks: Masks, seen: Tensor, octaves: Sequence[Octave]) -> Tensor:
    """Magnitudes of masked stems, `[S, N, G]`, all channels together: places in the room are not compared."""
    frames = seen.shape[-1]
    levels = seen.new_empty(len(masks.cells), frames, octaves[-1].groups.stop, dtype=torch.float32)
    for begin in range(0, frames, FRAMES_AT_ONCE):
        some = slice(begin, min(begin + FRAMES_AT_ONCE, frames))
        heard = in_rows(seen[..., some].abs().square_(), masks.fine).sqrt_()  # [C, R, n]
        each = masks.rows(some)
        for octave in octaves:
            energies = [
                _energy(each[:, channel, octave.rows] * whole) for channel, whole in enumerate(heard[:, octave.rows])
            ]
            levels[:, some, octave.groups] = (_grouped(_total(energies), octave).sum(2) / octave.width).sqrt_().mT
    return levels


def _energy(values: Tensor) -> Tensor:
    return (values.abs() if values.is_complex() else values).square_()


def _total(tensors: Sequence[Tensor]) -> Tensor:
    return sum(tensors[1:], tensors[0])


def _pools(centres_hz: Tensor) -> Tensor:
    """Weights that sum bands up to pools of equal width by ear, `[POOLS, K]`."""
    octaves = centres_hz.clamp_min(LOWEST_HZ / 2).log2()
    low, high = (torch.tensor(hz, device=octaves.device).log2() for hz in (LOWEST_HZ, HIGHEST_HZ))
    middles = low + (high - low) * torch.linspace(0, 1, POOLS, device=octaves.device)
    away = ((octaves - middles[:, None]) / WIDTH_OCTAVES).square()
    weights = torch.where(away < 25.0, torch.exp(-0.5 * away), 0.0)  # denormal numbers would make the product slow
    return weights / (weights.sum(1, keepdim=True) + _EPS)


def _neighbours(pooled: Tensor, frames_per_s: float) -> tuple[Tensor, Tensor]:
    """Find the frames of `[N, POOLS]` most like each: numbers and weights, `[N, NEIGHBOURS]` or fewer."""
    frames = len(pooled)
    before, after, apart = (max(1, round(seconds * frames_per_s)) for seconds in (BEFORE_S, AFTER_S, APART_S))
    around = functional.pad(pooled.sqrt(), (0, 0, before, after)).unfold(0, before + 1 + after, 1)
    features = around.flatten(1)  # [N, POOLS * around]
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    features = features / (norm + 1e-3 * norm.median() + _EPS)
    asked = torch.arange(0, frames, TOGETHER, device=pooled.device)
    near = torch.arange(1 - apart, apart, device=pooled.device)
    places, weights = [], []
    for rows in torch.split(asked, ROWS_AT_ONCE):
        alike = features[rows] @ features.T
        alike.scatter_(1, (rows[:, None] + near).clamp(0, frames - 1), -torch.inf)
        most, place = alike.topk(min(NEIGHBOURS, frames), dim=1)
        places.append(place)
        weights.append(torch.exp(FALL * (most - 1.0)))  # none for frames that are too near
    on = torch.arange(frames, device=pooled.device)[:, None] % TOGETHER
    place = torch.cat(places).repeat_interleave(TOGETHER, dim=0)[:frames] + on
    weight = torch.cat(weights).repeat_interleave(TOGETHER, dim=0)[:frames]
    return place.clamp_max(frames - 1), torch.where(place < frames, weight, 0.0)


def _mean(level: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """The mean of a level `[N, G]` over the neighbours of each frame, and itself in so far as these are not like it."""
    share = weights.mean(1, keepdim=True)
    shares = weights * (share / (weights.sum(1, keepdim=True) + _EPS))
    mean = functional.embedding_bag(places, level, per_sample_weights=shares, mode="sum")
    return mean + (1.0 - share) * level
