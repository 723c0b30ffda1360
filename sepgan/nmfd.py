"""Short patterns in time and frequency that the stems of a song are sums of.

Averages over similar moments (`sepgan.repetition`) need moments that sound alike as a whole. Here a moment is a sum: a
kick, a hi-hat and a bass note may begin at once though they never did before. The patterns of each stem are learnt from
what was found of it so far, then patterns of all stems explain the mixture together. This is non-negative matrix factor
deconvolution (Smaragdis, ICA 2004), with the multiplicative updates of Lee and Seung (NIPS 2000) for the
Kullback-Leibler divergence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

PATTERNS = 16  # of each stem
LENGTH_S = 0.14  # of a pattern
ALONE = 2  # updates by a stem as it was found; more learn what is wrong in it
TOGETHER = 8  # updates by the mixture then
ALONE_ONLY = 12  # updates for stems that do not go on with the mixture
MOST = 2.0  # times its level is what a stem may be said to have: where next to nothing was found, nothing is
BLUR = 0.1  # of the mean moment in each pattern at first, for what is nothing stays so
_EPS = 1e-6
_NOTHING = 1e-30


def share_by_patterns(levels: Tensor, learning: Sequence[int], frames_per_s: float) -> Tensor:
    """Divide a mixture anew, half way (the geometric mean) to what patterns of its stems say.

    Nothing is drawn: patterns begin as moments of their stem, so the same levels give the same shares.

    Args:
        levels: Magnitudes of the stems, which sum to those of the mixture, `[S, N, G]`: N frames of G bands.
        learning: Numbers of the stems whose patterns go on learning from the mixture, one at least. Those of the others
            stay what these stems taught them, and do not adapt to what the rest leaves over.
        frames_per_s: How many.

    Returns:
        `[S, N, G]`, with the sum over S that the levels have.
    """
    unit = levels.mean() + _NOTHING
    stems = levels / unit
    mixture = stems.sum(0)
    length = max(1, round(LENGTH_S * frames_per_s))
    some = list(learning)
    others = [number for number in range(len(levels)) if number not in learning]
    said = torch.empty_like(stems)
    if others:
        begins, patterns = _fitted(stems[others], *_first(stems[others], length), ALONE_ONLY)
        said[others] = _spread(begins, length) @ patterns
    begins, patterns = _fitted(stems[some], *_first(stems[some], length), ALONE)
    shape = (len(some), length, PATTERNS, -1)
    together = patterns.view(shape).transpose(0, 1).reshape(1, length * len(some) * PATTERNS, -1)
    all_begins = begins.transpose(0, 1).flatten(1)[None]
    all_begins, together = _fitted(mixture[None], all_begins, together, TOGETHER, said[others].sum(0))
    begins = all_begins[0].view(-1, len(some), PATTERNS).transpose(0, 1)
    patterns = together.view(length, len(some), PATTERNS, -1).transpose(0, 1).flatten(1, 2)
    said[some] = _spread(begins, length) @ patterns
    said *= mixture / (said.sum(0) + _EPS)
    shares = ((stems + _EPS) * (torch.minimum(said, MOST * stems) + _EPS)).sqrt_()
    return shares * (unit * mixture / shares.sum(0))


def _first(stems: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """When each pattern begins, and how strongly, `[S, N, P]`; and the patterns `[S, length * P, G]`, as if heard.

    They are moments of the stem, the more of them where it is loud: each begins where another share of its energy has
    been heard.
    """
    frames = stems.shape[1]
    heard = stems.square().sum(2).cumsum(1)  # [S, N]
    asked = (torch.arange(PATTERNS, device=stems.device) + 0.5) / PATTERNS * heard[:, -1:]
    moments = torch.searchsorted(heard, asked)  # [S, P]
    whole = moments[:, None] + torch.arange(length, device=stems.device)[:, None]
    patterns = torch.stack([stem[place] for stem, place in zip(stems, whole.clamp_max(frames - 1), strict=True)])
    begins = stems.new_full((len(stems), frames, PATTERNS), 1 / (PATTERNS * length))
    return begins, (patterns + BLUR * stems.mean(1)[:, None, None]).flatten(1, 2)


def _fitted(
    stems: Tensor, begins: Tensor, patterns: Tensor, updates: int, beside: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Begins and patterns that are more like stems `[S, N, G]`, beside something else in them that stays as it is."""
    length = patterns.shape[1] // begins.shape[2]
    spread, fixed = _spread(begins, length), stems.new_full((1, 1, 1), _EPS) if beside is None else beside + _EPS
    for _ in range(updates):
        begins = _new_begins(begins, patterns, stems / torch.baddbmm(fixed, spread, patterns))
        spread = _spread(begins, length)
        patterns = _new_patterns(spread, patterns, stems / torch.baddbmm(fixed, spread, patterns))
    return begins, patterns


def _spread(begins: Tensor, length: int) -> Tensor:
    """Which frame of which pattern sounds when: `[S, N, P]` to `[S, N, length * P]`."""
    frames = begins.shape[1]
    before = functional.pad(begins, (0, 0, length - 1, 0))
    return torch.cat([before[:, length - 1 - later :][:, :frames] for later in range(length)], dim=2)


def _new_begins(begins: Tensor, patterns: Tensor, missing: Tensor) -> Tensor:
    """One update by what is missing, the ratio of what is to be explained to what is, `[S, N, G]`."""
    count, frames, width = begins.shape
    heard = missing @ patterns.mT
    total = heard[..., :width].clone()
    for later in range(1, min(frames, heard.shape[2] // width)):
        total[:, : frames - later] += heard[:, later:, later * width : (later + 1) * width]
    size = patterns.sum(2).view(count, 1, -1, width).sum(2)
    return begins.mul(total).div_(size + _EPS)


def _new_patterns(spread: Tensor, patterns: Tensor, missing: Tensor) -> Tensor:
    """The same of patterns `[S, length * P, G]`."""
    return (spread.mT @ missing).mul_(patterns).div_(spread.sum(1)[..., None] + _EPS)
