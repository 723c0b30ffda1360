"""The multichannel Wiener filter by expectation maximisation, for any number of channels.

Nugraha, Liutkus and Vincent, "Multichannel audio source separation with deep neural networks" (IEEE/ACM TASLP 2016),
with the model of Duong, Vincent and Gribonval (IEEE TASLP 2010): at each frequency a stem has one spatial covariance
for the whole excerpt and one power a frame. Iterating refines both, and with them the stems. What the package norbert
(Liutkus and Stöter, 2019) computes frame by frame is here one batch; the tests compare them.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS_AT_ONCE = 128
SCALE = 10.0  # magnitudes above this are scaled down to it, as in norbert, so that the regularisation means the same


def wiener(stems: Tensor, mixture: Tensor, iterations: int) -> Tensor:
    """Refine estimates of stems.

    Args:
        stems: First estimates, complex, `[B, S, C, F, N]`; left as they are.
        mixture: Complex, `[B, C, F, N]`.
        iterations: How often; 0 returns the estimates.

    Returns:
        Stems `[B, S, C, F, N]`. They sum to the mixture up to the regularisation of its covariance.
    """
    if iterations == 0:
        return stems
    scale = (mixture.abs().amax((1, 2, 3), keepdim=True) / SCALE).clamp_min(1.0)  # [B, 1, 1, 1]
    refined = torch.empty_like(stems)
    # No bin knows of another: some at a time keep memory small. In double precision, because channels that are equal
    # make matrices that are singular but for the regularisation.
    for first in range(0, mixture.shape[2], BINS_AT_ONCE):
        bins = slice(first, first + BINS_AT_ONCE)
        part = (stems[..., bins, :] / scale.unsqueeze(1)).to(torch.complex128)
        whole = (mixture[..., bins, :] / scale).to(torch.complex128)
        for _ in range(iterations):
            part = _maximise(part, whole, torch.finfo(mixture.real.dtype).eps)
        refined[..., bins, :] = part * scale.unsqueeze(1)
    return refined


def _maximise(stems: Tensor, mixture: Tensor, eps: float) -> Tensor:
    """One iteration: powers and covariances of the estimates, then the filter that they make."""
    channels = stems.shape[2]
    power = (stems.real.square() + stems.imag.square()).mean(2)  # [B, S, F, N]
    # Spatial covariances, [B, S, F, C, C]: mean of the outer products, weighted by power.
    by_bin = stems.permute(0, 1, 3, 2, 4)  # [B, S, F, C, N]
    covariance = by_bin @ by_bin.mH / (power.sum(-1) + eps)[..., None, None]
    # Of the mixture, at each bin and frame: [B, F, N, C, C]
    flat = covariance.permute(0, 2, 3, 4, 1).flatten(2, 3)  # [B, F, C * C, S]
    mixed = (flat @ power.transpose(1, 2).to(flat.dtype)).transpose(2, 3)  # [B, F, N, C * C]
    floor = eps**0.5 * torch.eye(channels, dtype=mixed.dtype, device=mixed.device)
    mixed = mixed.reshape(*mixed.shape[:-1], channels, channels) + floor
    whitened = _solve(mixed, mixture.permute(0, 2, 3, 1))  # [B, F, N, C]
    # The filter v R C^-1 on the mixture, without ever forming it: [B, 1, F, N, C] @ [B, S, F, C, C]
    spread = whitened.unsqueeze(1) @ covariance.transpose(-1, -2)
    return power.unsqueeze(2) * spread.permute(0, 1, 4, 2, 3)


def _solve(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Solve `[..., C, C]` x = `[..., C]`, in closed form where one or two channels make the many small systems slow."""
    channels = vectors.shape[-1]
    if channels == 1:
        return vectors / matrices[..., 0]
    if channels == 2:
        a, b, c, d = matrices.flatten(-2).unbind(-1)
        x, y = vectors.unbind(-1)
        return torch.stack((d * x - b * y, a * y - c * x), -1) / (a * d - b * c).unsqueeze(-1)
    solved: Tensor = torch.linalg.solve(matrices, vectors.unsqueeze(-1)).squeeze(-1)
    return solved
