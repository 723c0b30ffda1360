"""Averages of masked stems over moments that sound alike.

Music repeats itself: a bar comes again, a drum is struck the same way a hundred times. What a network gets wrong
differs each time, with what else is played, so the mean over a stem's similar moments is nearer the truth than any of
them. Similar frames are found as REPET-SIM does (Rafii and Pardo, "Music/voice separation using the similarity matrix",
ISMIR 2012), their weighted mean is that of non-local means (Buades, Coll and Morel, CVPR 2005), and it is taken of each
stem by its own estimate, as in a kernel additive model (Liutkus et al., IEEE Transactions on Signal Processing, 2014).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = 10  # frames in a mean
BEFORE_S, AFTER_S = 0.07, 0.12  # around a frame, compared with it: an attack and what rings after it
APART_S = 0.08  # closer frames are the same sound, not its repetition
FALL = 2.0  # of the weight with the distance: a frame at right angles counts exp(-FALL)
POOLS, LOWEST_HZ, HIGHEST_HZ, WIDTH_OCTAVES = 24, 40.0, 11000.0, 0.15  # what frames are compared by
ROWS_AT_ONCE = 512  # of the similarity matrix, which is never held whole
BANDS_AT_ONCE = 64
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


def average_repetitions(masks: Tensor, seen: Tensor, stems: Sequence[int], passes: int, grid: Grid) -> None:
    """Divide the mixture anew, with some stems by the means of their similar moments and the others as they are.

    Args:
        masks: Real or complex, `[B, S, C, K, N]`; changed in place. Their sum over S stays, up to rounding.
        seen: What they are masks of, complex or its magnitudes, `[B, C, K, N]`.
        stems: Numbers of those that are averaged. What their means leave over, or lack, all stems share by size.
        passes: How often; neighbours are found once, for one more pass reaches their neighbours. From the second on the
            averaged stems share among themselves: the others have had their due, and more of it would be too much.
        grid: Of the last two axes.
    """
    if passes == 0 or not stems:
        return
    pools = _pools(grid.centres_hz.to(masks.device))
    for item, whole in zip(masks, seen, strict=True):
        first = [_level(part, whole) for part in item]
        near = {stem: _neighbours(first[stem] @ pools.T, grid.frames_per_s) for stem in stems}
        levels, floor = list(first), _floor(first)
        sharing: Sequence[int] = range(len(first))
        for _ in range(passes):
            means = [_mean(levels[stem], *near[stem]) if stem in near else levels[stem] for stem in sharing]
            kept = (_total([levels[stem] for stem in sharing]) + floor) / (_total(means) + floor)
            for stem, mean in zip(sharing, means, strict=True):
                levels[stem] = mean * kept
            sharing = stems
        _divide(item, list(zip(levels, first, strict=True)), floor)


def _level(masks: Tensor, seen: Tensor) -> Tensor:
    """Magnitudes of a masked stem, `[N, K]`, all channels together: places in the room are not compared."""
    level = seen.new_empty(seen.shape[-1], seen.shape[-2], dtype=torch.float32)
    for bands in _some(seen.shape[-2]):
        level[:, bands] = (masks[:, bands] * seen[:, bands]).abs().square().sum(0).sqrt().T
    return level


def _floor(levels: Sequence[Tensor]) -> Tensor:
    """What is silence beside these levels, and not nothing even where all is silent."""
    return 1e-6 * torch.stack([level.amax() for level in levels]).amax() + _NOTHING


def _divide(parts: Tensor, levels: Sequence[tuple[Tensor, Tensor]], floor: Tensor) -> None:
    """Bring masks `[S, C, K, N]` in place to levels `[N, K]` from those that they had, and keep their sum."""
    for bands in _some(parts.shape[-2]):
        some = [part[:, bands] for part in parts]
        before = _total(some)
        gains = [((new[:, bands] + floor) / (old[:, bands] + floor)).T.contiguous() for new, old in levels]
        most = torch.stack(gains).amax(0)  # what is large would leave nothing exact of the sum
        for part, gain in zip(some, gains, strict=True):
            part *= gain.div_(most)
        after = _total(some)
        if not parts.is_complex():  # and none is below zero, so that a factor does
            factor = before / (after + _NOTHING)
            for part in some:
                part *= factor
            continue
        # What the gains leave over, or take too much, by size.
        sizes = [part.abs() for part in some]
        rest = (before - after) / (_total(sizes) + _NOTHING)
        for part, size in zip(some, sizes, strict=True):
            part += rest * size


def _total(tensors: Sequence[Tensor]) -> Tensor:
    return sum(tensors[1:], tensors[0])


def _some(bands: int) -> Iterator[slice]:
    """Bands at once: what is small stays in the caches of a processor."""
    for first in range(0, bands, BANDS_AT_ONCE):
        yield slice(first, first + BANDS_AT_ONCE)


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
    numbers = torch.arange(frames, device=pooled.device)
    places, weights = [], []
    for first in range(0, frames, ROWS_AT_ONCE):
        rows = numbers[first : first + ROWS_AT_ONCE]
        alike = features[rows] @ features.T
        alike[(rows[:, None] - numbers).abs() < apart] = -torch.inf
        most, place = alike.topk(min(NEIGHBOURS, frames), dim=1)
        places.append(place)
        weights.append(torch.exp(FALL * (most - 1.0)))  # none for frames that are too near
    return torch.cat(places), torch.cat(weights)


def _mean(level: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """The mean of a level `[N, K]` over the neighbours of each frame, and itself in so far as these are not like it."""
    share = weights.mean(1, keepdim=True)
    shares = weights * (share / (weights.sum(1, keepdim=True) + _EPS))
    mean = functional.embedding_bag(places, level, per_sample_weights=shares, mode="sum")
    return mean + (1.0 - share) * level
