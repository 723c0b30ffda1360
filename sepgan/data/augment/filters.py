"""Linear effects as frequency responses: equaliser, room, low-pass.

All of a stem's filters multiply into one response, and one pair of transforms applies those of a whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

_SHELF_Q = math.sqrt(0.5)  # the steepest shelf without a bump
_SETTLE_S = 0.2  # in which the slowest filter of an equaliser decays below -100 dB
_RING_S = 0.02  # in which a low-pass does, before and after
_DECAY_DB = 60.0  # that is what a reverberation time is measured to
_FADE_OCTAVES = 1 / 6  # over which a low-pass falls from all to nothing


@dataclass(frozen=True)
class Band:
    """A filter of an equaliser (Bristow-Johnson, Cookbook formulae for audio equalizer biquad filter coefficients).

    Attributes:
        kind: A shelf at the low or high end, or a peak.
        frequency_hz: Middle of its slope, or of its peak.
        gain_db: Of the shelf or the peak.
        q: Of a peak: frequency by width.
    """

    kind: Literal["low", "high", "peak"]
    frequency_hz: float
    gain_db: float
    q: float = _SHELF_Q


@dataclass(frozen=True)
class Room:
    """Reverberation: noise that decays exponentially, faster at high frequencies, different in each channel.

    Attributes:
        decay_s: Time in which it falls by 60 dB.
        level_db: Its energy beside that of the dry sound.
        damp_hz: Above it the decay takes half the time.
        delay_s: Before it begins.
        seed: Of the noise.
    """

    decay_s: float
    level_db: float
    damp_hz: float
    delay_s: float
    seed: int


def settle_samples(bands: bool, lowpass: bool, rooms: Sequence[Room], sample_rate: int) -> int:
    """Return how many samples of silence keep the end of filtered sound from wrapping into its beginning."""
    longest_s = max((room.delay_s + room.decay_s for room in rooms), default=0.0)
    return math.ceil((longest_s + _SETTLE_S * bands + 2 * _RING_S * lowpass) * sample_rate)


def band_response(band: Band, frequencies: Tensor, sample_rate: int) -> Tensor:
    """Return the complex response of a filter.

    Args:
        band: The filter; one at or above half the sample rate does nothing.
        frequencies: In radians per sample, `[F]`, float64.
        sample_rate: In Hz.
    """
    if band.frequency_hz >= sample_rate / 2:
        return torch.ones_like(frequencies, dtype=torch.complex64)
    amplitude = 10 ** (band.gain_db / 40)
    centre = 2 * math.pi * band.frequency_hz / sample_rate
    cosine, alpha = math.cos(centre), math.sin(centre) / (2 * band.q)
    if band.kind == "peak":
        upper = (1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude)
        lower = (1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude)
    else:
        sign = 1 if band.kind == "low" else -1  # a high shelf is a low one seen from the other end
        slope = 2 * math.sqrt(amplitude) * alpha
        plus, minus = amplitude + 1, amplitude - 1
        upper = (
            amplitude * (plus - sign * minus * cosine + slope),
            sign * 2 * amplitude * (minus - sign * plus * cosine),
            amplitude * (plus - sign * minus * cosine - slope),
        )
        lower = (
            plus + sign * minus * cosine + slope,
            -sign * 2 * (minus + sign * plus * cosine),
            plus + sign * minus * cosine - slope,
        )
    # In double precision: at low frequencies both sides of the fraction are small differences of large numbers.
    delay = torch.polar(torch.ones_like(frequencies), -frequencies)
    above = upper[0] + upper[1] * delay + upper[2] * delay**2
    return (above / (lower[0] + lower[1] * delay + lower[2] * delay**2)).to(torch.complex64)


def room_impulse(room: Room, channels: int, sample_rate: int) -> Tensor:
    """Return the impulse response of a room without the direct sound, `[C, n]`, on the processor.

    Both parts of the noise, below and above `damp_hz`, come from one seeded generator, so every device hears the same.
    """
    delay, length = round(room.delay_s * sample_rate), max(1, math.ceil(room.decay_s * sample_rate))
    noise = np.random.default_rng(room.seed).standard_normal((channels, length))
    fall = np.exp(-_DECAY_DB / 20 * math.log(10) * np.arange(length) / (room.decay_s * sample_rate))
    spectrum = np.fft.rfft(noise)
    share = 1 / (1 + (np.fft.rfftfreq(length, 1 / sample_rate) / room.damp_hz) ** 2)
    low = np.fft.irfft(spectrum * share, length)
    decaying = low * fall + (noise - low) * fall**2
    decaying *= 10 ** (room.level_db / 20) / np.sqrt(np.square(decaying).sum(1, keepdims=True))
    return torch.from_numpy(np.pad(decaying, ((0, 0), (delay, 0))).astype(np.float32))


def lowpass_response(cut_hz: float, frequencies: Tensor, sample_rate: int) -> Tensor:
    """Return a response that falls from 1 to 0 within a sixth of an octave below `cut_hz`, `[F]`."""
    cut = 2 * math.pi * cut_hz / sample_rate
    octaves = torch.log2(cut / frequencies.clamp_min(1e-9))
    return 0.5 - 0.5 * torch.cos(math.pi * (octaves / _FADE_OCTAVES).clamp(0, 1))
