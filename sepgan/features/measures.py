"""Features of frames: log-mel, cepstrum, MFCC, deltas, pre-emphasis, spectral contrast.

All take any leading axes, run on any device and can be learnt through, but for the contrast, which librosa measures.
They equal librosa's within 0.01 dB (tested): the mel scale is HTK's, without area normalisation, as in the front-end.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_LEAST_POWER = 1e-10  # -100 dB, as librosa's power_to_db
_LEAST_MAGNITUDE = 1e-5


def pre_emphasis(waveform: Tensor, coefficient: float = 0.97) -> Tensor:
    """Raise high frequencies: `y[t] = x[t] - coefficient * x[t - 1]`, with silence before the first sample.

    librosa extrapolates before the first sample; all others are equal.

    Args:
        waveform: `[..., T]`.
        coefficient: 0 changes nothing.
    """
    return waveform - coefficient * functional.pad(waveform, (1, 0))[..., :-1]


def log_mel(power: Tensor, weights: Tensor) -> Tensor:
    """Level of mel bands in dB.

    Args:
        power: Power spectra `[..., N, F]`.
        weights: `[bands, F]`, see `sepgan.frontend.mel_weights`.

    Returns:
        `[..., N, bands]`, not below -100 dB.
    """
    return 10 * torch.log10((power @ weights.T).clamp_min(_LEAST_POWER))


def mfcc(levels_db: Tensor, count: int) -> Tensor:
    """Mel-frequency cepstral coefficients: the orthonormal cosine transform (type 2) of levels in bands.

    Args:
        levels_db: `[..., bands]`.
        count: How many to keep.

    Returns:
        `[..., count]`.
    """
    bands = levels_db.shape[-1]
    place = torch.arange(bands, dtype=levels_db.dtype, device=levels_db.device) + 0.5
    order = torch.arange(count, dtype=levels_db.dtype, device=levels_db.device)
    basis = torch.cos(math.pi / bands * order[:, None] * place) * math.sqrt(2 / bands)
    basis[:1] *= math.sqrt(0.5)
    return levels_db @ basis.T


def cepstrum(magnitude: Tensor, count: int) -> Tensor:
    """Real cepstrum: the inverse transform of the log magnitude; low orders are the envelope, a peak is a pitch.

    Args:
        magnitude: `[..., F]`.
        count: How many coefficients to keep, from order 0.

    Returns:
        `[..., count]`.
    """
    whole: Tensor = torch.fft.irfft(magnitude.clamp_min(_LEAST_MAGNITUDE).log())
    return whole[..., :count]


def deltas(features: Tensor, order: int = 1, width: int = 9) -> Tensor:
    """Derivative over time, by the slope (order 1) or curvature (order 2) of a polynomial fitted to `width` frames.

    At the ends the fit to the first or last `width` frames holds on (Savitzky and Golay, 1964; librosa's `interp`).

    Args:
        features: `[..., N, K]`, N at least `width`.
        order: 1 or 2, also the degree of the polynomial.
        width: Frames, an odd number from 3 on.

    Raises:
        ValueError: There are fewer frames than `width`.
    """
    frames = features.shape[-2]
    if frames < width:
        raise ValueError(f"deltas need at least {width} frames, got {frames}: take a longer sound or a shorter hop")
    place = np.arange(width) - width // 2
    fit = np.linalg.pinv(np.vander(place, order + 1, increasing=True))[order] * math.factorial(order)
    kernel = torch.tensor(fit, dtype=features.dtype, device=features.device)
    inner = features.unfold(-2, width, 1) @ kernel  # [..., N - width + 1, K]
    half = width // 2
    flat = inner.flatten(0, -3).transpose(-1, -2) if inner.ndim > 2 else inner.T[None]
    padded = functional.pad(flat, (half, half), mode="replicate")
    return padded.transpose(-1, -2).reshape(features.shape)


def spectral_contrast(magnitude: Tensor, sample_rate: int, octaves: int) -> Tensor:
    """Peaks against valleys within octaves from 200 Hz on, in dB (Jiang et al., 2002), through librosa.

    Args:
        magnitude: `[..., N, F]`.
        sample_rate: In Hz.
        octaves: How many above 200 Hz.

    Returns:
        `[..., N, octaves + 1]`; the first is what lies below 200 Hz.
    """
    import librosa

    spectra = magnitude.detach().cpu().numpy().swapaxes(-1, -2)
    contrast = librosa.feature.spectral_contrast(S=spectra, sr=sample_rate, n_bands=octaves)
    return torch.from_numpy(np.ascontiguousarray(contrast.swapaxes(-1, -2))).to(magnitude)
