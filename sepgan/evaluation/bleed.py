"""Bleedless and fullness: how much an estimate adds to its source, and how much it leaves out, as levels are heard.

Both compare levels in dB over mel bands and frames. What the estimate has too much is bleed, what it lacks makes it
thin; a mean over the cells of either kind becomes a score from 0 to 100, 100 where there are none.

Source: `bleed_full` of Music-Source-Separation-Training (R. Solovyev and others), whose leaderboards show both. There
the filters are always those of 44.1 kHz; here they are those of the signal's own rate, which is the same at 44.1 kHz.
"""

import librosa
import torch
from torch import Tensor

from sepgan.evaluation.metrics import check_shapes

N_FFT = 4096
HOP_LENGTH = 1024
MEL_BANDS = 512
RANGE_DB = 80.0  # below the loudest cell of a signal, everything counts as that
_LEAST = 1e-10  # magnitude


def bleedless_and_fullness(references: Tensor, estimates: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Bleedless `100 / (1 + b)` and fullness `100 / (1 + f)`; no unit, 100 is best.

    `b` is the mean of the level differences, in dB, over the cells where the estimate is louder than the reference, `f`
    the mean of those where it is softer; 0 where there is no such cell. Cells are mel bands (Slaney's scale and norm),
    frames and channels. Neither says anything alone: silence is bleedless, and the mixture is full.

    Args:
        references: True sources [S, C, T].
        estimates: Estimated sources, same shape.
        sample_rate: In Hz.

    Returns:
        Both [S], float64; NaN for a silent reference.

    Raises:
        ValueError: Shapes differ or the signal is empty.
    """
    check_shapes(references, estimates)
    filters = torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=N_FFT, n_mels=MEL_BANDS)).to(references.device)
    found = []
    for true, estimate in zip(references, estimates, strict=True):
        difference = _levels_db(estimate, filters) - _levels_db(true, filters)
        means = [_mean(difference[difference > 0]), _mean(-difference[difference < 0])]
        found.append(100 / (1 + torch.stack(means)))
    silent = (references == 0).flatten(-2).all(-1)
    bleedless, fullness = torch.stack(found).masked_fill(silent[:, None], torch.nan).unbind(-1)
    return bleedless, fullness


def _levels_db(waveform: Tensor, filters: Tensor) -> Tensor:
    """Levels of a source [C, T] in mel bands, [C, M, N], not lower than `RANGE_DB` below the loudest."""
    window = torch.hann_window(N_FFT, device=waveform.device)
    # Zeros beyond the ends, as there; it also lets a signal be shorter than half a window.
    spectrum = torch.stft(
        waveform.float(), N_FFT, HOP_LENGTH, window=window, pad_mode="constant", return_complex=True
    ).abs()
    levels: Tensor = 20 * (filters @ spectrum).clamp(min=_LEAST).log10()
    return levels.clamp(min=levels.max() - RANGE_DB)


def _mean(values: Tensor) -> Tensor:
    return values.double().mean() if values.numel() else values.new_zeros((), dtype=torch.float64)
