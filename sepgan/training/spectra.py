"""A batch of waveforms as the networks and losses see it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sepgan.data.excerpts import Batch
from sepgan.separator import Separator
from sepgan.training.losses import phase_sensitive


class Spectra(NamedTuple):
    """A batch in bands."""

    seen: Tensor  # [B, C, F, N], what the network is shown: magnitudes, or complex if its masks are
    masked: Tensor  # [B, C, F, N], what masks multiply for the loss: magnitudes, or complex if the phase counts too
    mixture: Tensor  # [B, C, F, N], magnitudes
    magnitudes: Tensor | None  # [B, G, C, F, N], of the true groups; None when nobody asked for them
    targets: Tensor  # [B, G, C, F, N], what `masked` times the masks should be
    groups: Tensor  # [B, G, S]
    band_mask: Tensor  # [B, F]
    spectrum: Tensor  # [B, C, F, N], of the mixture, complex and in bins


def analyse(separator: Separator, batch: Batch, reconstruction: str, judged: bool) -> Spectra:
    """Return a batch in bands.

    Args:
        separator: Owns the front-end.
        batch: Waveforms.
        reconstruction: `magnitude`, `phase_sensitive` or `complex`, the target of the L1 loss.
        judged: Whether the adversary will look at the true magnitudes; they cost a third of the analysis.
    """
    with torch.no_grad():
        mixture = separator.stft(batch.mixture)
        level = mixture.abs()
        stems = separator.stft(batch.targets)
        magnitudes = separator.bands(stems.abs()) if judged or reconstruction == "magnitude" else None
        if reconstruction == "magnitude":
            assert magnitudes is not None
            targets = magnitudes
        else:
            targets = target_in_bands(separator, stems, mixture, reconstruction)
        bands = separator.bands(level)
        centres_hz = separator.bands.centres_hz(separator.sample_rate).to(batch.band_hz.device)
        band_mask = (centres_hz[None] <= batch.band_hz[:, None]).to(level.dtype)
        masked = separator.bands(mixture) if reconstruction == "complex" else bands
        seen = separator.seen(mixture) if separator.complex_masks else bands
        return Spectra(seen, masked, bands, magnitudes, targets, batch.groups, band_mask, mixture)


def target_in_bands(separator: Separator, stems: Tensor, mixture: Tensor, reconstruction: str) -> Tensor:
    """What the masked mixture should be for stems that are given as complex spectra: `[B, G, C, F, N]` in bands.

    Args:
        separator: Owns the front-end.
        stems: `[B, G, C, F, N]`, in bins.
        mixture: `[B, C, F, N]`, in bins.
        reconstruction: `magnitude`, `phase_sensitive` or `complex`.
    """
    if reconstruction == "complex":
        target: Tensor = separator.bands(stems)
    elif reconstruction == "phase_sensitive":
        target = separator.bands(phase_sensitive(stems, mixture, mixture.abs()))
    else:
        target = separator.bands(stems.abs())
    return target


def resynthesise(separator: Separator, masks: Tensor, spectrum: Tensor, samples: int) -> Tensor:
    """Stems `[B, S, C, T]` as they will be heard, with gradients.

    Args:
        separator: Owns the front-end.
        masks: In bands, `[B, S, C, F, N]`.
        spectrum: Of the mixture, `[B, C, F, N]`, complex and in bins.
        samples: Their length T.
    """
    return separator.stft.inverse(separator.bands.to_bins(masks) * spectrum.unsqueeze(1), samples)
