"""A guitar amplifier: what is played at once is clipped together, so chords gain sums and differences of their tones.

A synthesiser that distorts note by note never makes the difference tones of a real one, an octave below a power chord.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_OVERSAMPLING = 2  # harmonics up to twice the highest frequency fold back no more
_SPEAKER_ORDER = 4  # 24 dB an octave


@dataclass(frozen=True)
class Distortion:
    """An amplifier and its loudspeaker.

    Attributes:
        drive_db: Gain before the clipping, over that which brings the root mean square to 1.
        speaker_hz: Above it the loudspeaker gives less and less.
    """

    drive_db: float
    speaker_hz: float


def distort(waveform: Tensor, distortion: Distortion, sample_rate: int) -> Tensor:
    """Clip softly (tanh), as loud as before.

    Args:
        waveform: `[C, T]`; silence stays as it is.
        distortion: How much.
        sample_rate: In Hz.

    Returns:
        `[C, T]`, of the same root mean square.
    """
    power = waveform.square().mean()
    if not float(power) > 0:
        return waveform
    samples = waveform.shape[-1]
    padded = samples + samples % 2
    spectrum = torch.fft.rfft(waveform, padded)
    longer = torch.fft.irfft(spectrum, _OVERSAMPLING * padded) * _OVERSAMPLING
    clipped = torch.tanh(longer * (10 ** (distortion.drive_db / 20) / power.sqrt()))
    heard = torch.fft.rfft(clipped)[..., : spectrum.shape[-1]]
    frequency = torch.arange(spectrum.shape[-1], device=waveform.device) * (sample_rate / padded)
    response = (1 + (frequency / distortion.speaker_hz) ** (2 * _SPEAKER_ORDER)).rsqrt()
    changed: Tensor = torch.fft.irfft(heard * response, padded)[..., :samples]
    return changed.mul_((power / changed.square().mean()).sqrt())
