"""A batch of waveforms as the networks and losses see it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sepgan.data.excerpts import Batch
from sepgan.separator import Separator
from sepgan.training.losses import phase_sensitive


class Spectra(NamedTuple):
    """A batch as the network sees it: magnitudes in bands."""

    mixture: Tensor  # [B, C, F, N]
    magnitudes: Tensor | None  # [B, G, C, F, N], of the true groups; None when nobody asked for them
    targets: Tensor  # [B, G, C, F, N], what the masked mixture should be
    groups: Tensor  # [B, G, S]
    band_mask: Tensor  # [B, F]
    spectrum: Tensor  # [B, C, F, N], of the mixture, complex and in bins


def analyse(separator: Separator, batch: Batch, reconstruction: str, judged: bool) -> Spectra:
    """Return a batch in bands.

    Args:
        separator: Owns the front-end.
        batch: Waveforms.
        reconstruction: `magnitude` or `phase_sensitive`, the target of the L1 loss.
        judged: Whether the adversary will look at the true magnitudes; they cost a third of the analysis.
    """
    with torch.no_grad():
        mixture = separator.stft(batch.mixture)
        level = mixture.abs()
        stems = separator.stft(batch.targets)
        sensitive = reconstruction == "phase_sensitive"
        magnitudes = separator.bands(stems.abs()) if judged or not sensitive else None
        targets = separator.bands(phase_sensitive(stems, mixture, level)) if sensitive else magnitudes
        assert targets is not None
        centres_hz = separator.bands.centres_hz(separator.sample_rate).to(batch.band_hz.device)
        band_mask = (centres_hz[None] <= batch.band_hz[:, None]).to(targets.dtype)
        return Spectra(separator.bands(level), magnitudes, targets, batch.groups, band_mask, mixture)


def resynthesise(separator: Separator, masks: Tensor, spectrum: Tensor, samples: int) -> Tensor:
    """Stems `[B, S, C, T]` as they will be heard, with gradients.

    Args:
        separator: Owns the front-end.
        masks: In bands, `[B, S, C, F, N]`.
        spectrum: Of the mixture, `[B, C, F, N]`, complex and in bins.
        samples: Their length T.
    """
    return separator.stft.inverse(separator.bands.to_bins(masks) * spectrum.unsqueeze(1), samples)
