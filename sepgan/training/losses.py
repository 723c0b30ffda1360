"""Losses as pure functions. They take `estimates, targets`, return one number, and are minimised."""

from __future__ import annotations

import torch
from torch import Tensor

LEVEL_FLOOR = 1e-2  # magnitudes below this mean level count as silence and are not amplified further


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
    summed = torch.einsum("bgs,bscfn->bgcfn", groups.to(estimates.dtype), estimates)
    known = band_mask[:, None, :, None]
    used = (groups.sum(2) > 0).to(level.dtype)[:, :, None, None, None]
    if weights is not None:
        used = used * weights[:, :, None, None, None]
    error = ((summed - targets).abs() * used * known[:, None]).sum(1)
    share = band_mask.mean(1).clamp_min(1e-6)
    error_mean = error.mean((1, 2, 3)) / share
    level_mean = (level * known).mean((1, 2, 3)) / share
    return (error_mean / (level_mean + LEVEL_FLOOR)).mean()


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
