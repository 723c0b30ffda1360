"""Losses as pure functions. They take `estimates, targets`, return one number, and are minimised."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

LEVEL_FLOOR = 1e-2  # magnitudes below this mean level count as silence and are not amplified further
ERROR_FLOOR = 1e-2  # root mean squares of errors below this share of the mixture's do not pull harder still


class GroupedError(Protocol):
    """`grouped_l1` or `grouped_l2`."""

    def __call__(
        self,
        estimates: Tensor,
        targets: Tensor,
        groups: Tensor,
        level: Tensor,
        band_mask: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """See `grouped_l1`."""


def grouped_error(distance: Literal["l1", "l2"]) -> GroupedError:
    """Return the function that a recipe names by `train.distance`."""
    return {"l1": grouped_l1, "l2": grouped_l2}[distance]


def grouped_l1(
    estimates: Tensor,
    targets: Tensor,
    groups: Tensor,
    level: Tensor,
    band_mask: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean absolute error between each group's sum of estimates and its target, relative to the mixture's level.

    Args:
        estimates: Masked magnitudes of the stems, or masked complex spectra, `[B, S, C, F, N]`.
        targets: The same of the groups, `[B, G, C, F, N]`; those of empty groups do not matter.
        groups: Which stems a group sums, `[B, G, S]`, 0 or 1.
        level: Magnitudes of the mixture, `[B, C, F, N]`; the error is divided by their mean, an item at a time, so that
            quiet excerpts teach as much as loud ones.
        band_mask: 1 where something is known of the frequency, `[B, F]`, 0 above the band of a source.
        weights: How much each group counts, `[B, G]`; None: 1.

    Returns:
        A scalar, the mean over items of the summed error of the groups.
    """
    known = band_mask[:, None, :, None]
    errors = _errors(estimates, targets, groups) * known[:, None]
    share = band_mask.mean(1).clamp_min(1e-6)
    error_mean = (errors * _used(groups, level, weights)[:, :, None, None, None]).sum(1).mean((1, 2, 3)) / share
    level_mean = (level * known).mean((1, 2, 3)) / share
    return (error_mean / (level_mean + LEVEL_FLOOR)).mean()


def grouped_l2(
    estimates: Tensor,
    targets: Tensor,
    groups: Tensor,
    level: Tensor,
    band_mask: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Root mean square error of each group's sum of estimates, relative to the mixture's, by the rules of `grouped_l1`.

    With `train.reconstruction: complex` it falls as the signal-to-distortion ratio of an excerpt rises, also for real
    masks, while an absolute error makes masks harder than is best for that.
    """
    known = band_mask[:, None, :, None]
    share = band_mask.mean(1).clamp_min(1e-6)
    level_rms = ((level.square() * known).mean((1, 2, 3)) / share).sqrt()
    squares = (_errors(estimates, targets, groups).square() * known[:, None]).mean((2, 3, 4)) / share[:, None]
    floor = (ERROR_FLOOR * level_rms + ERROR_FLOOR * LEVEL_FLOOR)[:, None]
    error_rms = (squares + floor.square()).sqrt() - floor
    return ((error_rms * _used(groups, level, weights)).sum(1) / (level_rms + LEVEL_FLOOR)).mean()


def _errors(estimates: Tensor, targets: Tensor, groups: Tensor) -> Tensor:
    """Absolute errors `[B, G, C, F, N]`."""
    return (torch.einsum("bgs,bscfn->bgcfn", groups.to(estimates.dtype), estimates) - targets).abs()


def _used(groups: Tensor, level: Tensor, weights: Tensor | None) -> Tensor:
    """How much each group counts, `[B, G]`."""
    used = (groups.sum(2) > 0).to(level.dtype)
    return used if weights is None else used * weights


def phase_sensitive(stems: Tensor, mixture: Tensor, level: Tensor) -> Tensor:
    """Part of each stem's spectrum in phase with the mixture, which is what a real mask can reach.

    `|S| cos(angle(S) - angle(X))`, clipped to `[0, |X|]` (Erdogan et al., ICASSP 2015, eq. 10). Before clipping, the
    values of all stems sum to the magnitude of the mixture.

    Args:
        stems: Complex, `[B, G, C, F, N]`.
        mixture: Complex, `[B, C, F, N]`.
        level: Magnitudes of the mixture, `[B, C, F, N]`.

    Returns:
        Real, `[B, G, C, F, N]`.
    """
    phase = (mixture / level.clamp_min(1e-9)).unsqueeze(1)
    projected = stems.real * phase.real
    projected.addcmul_(stems.imag, phase.imag)
    return torch.minimum(projected.clamp_min_(0.0), level.unsqueeze(1))
