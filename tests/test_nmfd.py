"""Patterns that stems are sums of: the updates by hand, what must hold of shares, and that they are worth taking."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sepgan import nmfd
from sepgan.nmfd import MOST, PATTERNS, share_by_patterns

FRAMES_PER_S = 43.0
LENGTH = 4
SUM_ERROR = 1e-5  # of levels, relative
BY_HAND = 1e-4  # of factors, relative; single precision, and the sums in another order
NEARER_DB = 1.0  # at least, for stems of two patterns each that are mixed in new company all the time
ABOVE_MOST_DB = 0.1  # shares are scaled to the mixture after what a stem may have is limited


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.01


def song(frames: int = 300, bands: int = 24) -> Tensor:
    """Levels `[3, N, G]` of stems that are two patterns each, which begin when they like."""
    stems = torch.zeros(3, frames + LENGTH, bands)
    for number in range(3):
        patterns = drawn(2, LENGTH, bands, seed=number).pow(6)
        begins = drawn(2, frames, seed=9 + number).pow(12)
        for pattern, times in zip(patterns, begins, strict=True):
            for later in range(LENGTH):
                stems[number, later : later + frames] += times[:, None] * pattern[later]
    return stems[:, :frames]


def error_db(levels: Tensor, true: Tensor) -> float:
    return float(10 * torch.log10((levels - true).square().sum() / true.square().sum()))


def divergence(stems: Tensor, said: Tensor) -> float:
    return float((stems * (stems / said).log() - stems + said).sum())


def test_updates_are_those_of_the_paper() -> None:
    """Smaragdis 2004, equations 5 and 6, element by element."""
    stem, begins, patterns = drawn(1, 9, 5), drawn(1, 9, PATTERNS, seed=1), drawn(1, LENGTH * PATTERNS, 5, seed=2)
    shaped = patterns[0].view(LENGTH, PATTERNS, 5)
    said = torch.zeros(9, 5)
    for frame in range(9):
        for later in range(min(LENGTH, frame + 1)):
            said[frame] += begins[0, frame - later] @ shaped[later]
    spread = nmfd._spread(begins, LENGTH)
    assert torch.allclose(spread[0] @ patterns[0], said, rtol=BY_HAND)
    missing = stem[0] / said
    for pattern in range(PATTERNS):
        for frame in range(9):
            reached = range(min(LENGTH, 9 - frame))
            up = sum(shaped[later, pattern] @ missing[frame + later] for later in reached)
            new = begins[0, frame, pattern] * up / shaped[:, pattern].sum()
            found = nmfd._new_begins(begins, patterns, missing[None])[0, frame, pattern]
            assert float(found) == pytest.approx(float(new), rel=BY_HAND)
        for later in range(LENGTH):
            times = begins[0, : 9 - later, pattern]
            new = shaped[later, pattern] * (times @ missing[later:]) / times.sum()
            found = nmfd._new_patterns(spread, patterns, missing[None])[0, later * PATTERNS + pattern]
            assert torch.allclose(found, new, rtol=BY_HAND)


def test_updates_never_fit_worse() -> None:
    stems = song() + 1e-3
    first, fits = nmfd._first(stems, LENGTH), []
    for updates in (1, 2, 4, 8, 16):
        begins, patterns = nmfd._fitted(stems, *first, updates)
        fits.append(divergence(stems, nmfd._spread(begins, LENGTH) @ patterns))
    assert fits == sorted(fits, reverse=True)
    assert fits[-1] < 0.5 * fits[0]


@pytest.mark.parametrize("learning", [(0,), (0, 1), (0, 1, 2), (2, 0)])
def test_sums_stay(learning: Sequence[int]) -> None:
    levels = song() * drawn(3, 1, 1)
    shares = share_by_patterns(levels, learning, FRAMES_PER_S)
    assert bool((shares >= 0).all())
    assert torch.allclose(shares.sum(0), levels.sum(0), rtol=SUM_ERROR, atol=SUM_ERROR * float(levels.max()))
    assert torch.equal(shares, share_by_patterns(levels, learning, FRAMES_PER_S))
    louder = share_by_patterns(1000 * levels, learning, FRAMES_PER_S) / 1000
    assert torch.allclose(louder, shares, rtol=BY_HAND, atol=BY_HAND * float(levels.mean()))


def test_patterns_bring_stems_nearer() -> None:
    true = song()
    some = 0.3 * drawn(3, 3, *true.shape[1:], seed=5)  # of each stem in each other, another share each time
    kept = torch.eye(3)[..., None, None] * (1 - some.sum(0)) + some * (1 - torch.eye(3))[..., None, None]
    heard = (kept * true).sum(1)
    heard *= true.sum(0) / heard.sum(0).clamp_min(1e-9)
    for learning in ((0, 1), (0, 1, 2)):
        assert error_db(share_by_patterns(heard, learning, FRAMES_PER_S), true) <= error_db(heard, true) - NEARER_DB


def test_what_is_nearly_silent_stays_so() -> None:
    levels = song()
    levels[1] = 1e-3 * levels[0].roll(3, dims=0)
    before = levels[1].square().sum()
    for learning in ((0, 1), (0, 1, 2), (0, 2)):
        after = share_by_patterns(levels, learning, FRAMES_PER_S)[1].square().sum()
        assert float(10 * torch.log10(after / before)) <= 10 * torch.log10(torch.tensor(MOST)) + ABOVE_MOST_DB


@pytest.mark.parametrize("frames", [1, 3, 40])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0])
def test_short_and_silent_songs_stay_finite(frames: int, scale: float) -> None:
    levels = scale * song(frames)
    shares = share_by_patterns(levels, (0, 2), FRAMES_PER_S)
    assert torch.allclose(shares.sum(0), levels.sum(0), rtol=SUM_ERROR, atol=1e-20)
    assert bool(shares.isfinite().all())
