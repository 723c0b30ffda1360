"""Pitch and tempo: a phase vocoder changes the tempo, resampling changes both together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from sepgan.frontend import Stft

_FINEST = 100  # denominator of resampling ratios: within 0.1 % below an octave, 2 cents, and the filters stay small
_N_FFT, _HOP = 2048, 512  # 46 ms at 44.1 kHz: long enough for basses, short enough for drums
_LOOP_S = 0.02  # crossfade where a shortened crop begins again


@dataclass(frozen=True)
class Warp:
    """Factors on pitch and tempo; both above 1 are higher and faster."""

    pitch: float = 1.0
    tempo: float = 1.0

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.pitch != 1.0 or self.tempo != 1.0

    @property
    def resampling(self) -> Fraction:
        """Factor of resampling, which changes pitch and tempo together."""
        return Fraction(self.pitch).limit_denominator(_FINEST)

    @property
    def stretch(self) -> float:
        """Factor on the tempo that is left to the phase vocoder; 1 leaves it out."""
        left = self.tempo / float(self.resampling)
        return 1.0 if abs(left - 1) < 2e-3 else left

    def source_samples(self, samples: int) -> int:
        """How many samples it takes to have `samples` of them left, with a margin for the edge."""
        if not self.active:
            return samples
        return math.ceil(samples * float(self.resampling) * self.stretch) + 2 * _HOP


def apply_warp(waveform: Tensor, warp: Warp) -> Tensor:
    """Change pitch and tempo.

    Args:
        waveform: `[C, T]`.
        warp: How.

    Returns:
        `[C, about T / tempo]`.
    """
    from torchaudio import functional

    ratio = warp.resampling
    if warp.stretch != 1.0:
        stft = Stft(_N_FFT, _HOP).to(waveform.device)
        advance = torch.linspace(0, torch.pi * _HOP, _N_FFT // 2 + 1, device=waveform.device)[:, None]
        spectrum = functional.phase_vocoder(stft(waveform), warp.stretch, advance)
        waveform = stft.inverse(spectrum, round(waveform.shape[-1] / warp.stretch))
    if ratio != 1:
        # What was `numerator` samples becomes `denominator` of them.
        waveform = functional.resample(waveform, ratio.numerator, ratio.denominator)
    return waveform


def fit(waveform: Tensor, samples: int, sample_rate: int) -> Tensor:
    """Cut to `samples`, or begin again with a short crossfade where the sound is too short: `[C, T] -> [C, samples]`.

    Silence at the end would come at the same place of all shortened crops, and a network would learn the place.
    """
    fade = min(round(_LOOP_S * sample_rate), waveform.shape[-1] // 2)
    while waveform.shape[-1] < samples:
        rising = torch.linspace(0, 1, fade, device=waveform.device)
        head, tail = waveform[..., :fade] * rising, waveform[..., waveform.shape[-1] - fade :] * (1 - rising)
        body = waveform[..., fade:]
        waveform = torch.cat([waveform[..., : waveform.shape[-1] - fade], head + tail, body], -1)
    return waveform[..., :samples]
