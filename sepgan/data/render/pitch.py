"""The pitch of a bass one-shot: its class from its name, its octave from its sound."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_LOWEST_HZ, _HIGHEST_HZ = 25.0, 400.0
_SKIPPED_S, _HEARD_S = 0.03, 0.4  # the attack has no pitch; what comes later may have died away
_PERIODIC = 0.85  # of the strongest correlation: the shortest period that reaches it is the pitch, not its multiples
_OFF = 0.7  # semitones from the name at most
_NAMES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


def note_of_name(name: str) -> int | None:
    """Return the pitch class at the end of a name, 0 for C, or None.

    >>> note_of_name("bass_hit_c"), note_of_name("bass_dnb_f#2"), note_of_name("bass_hit")
    (0, 6, None)
    """
    found = re.search(r"(?i)[_ -]([a-g])(#|s|b)?-?\d?$", name)
    if found is None:
        return None
    sign = {"": 0, "#": 1, "s": 1, "b": -1}[(found[2] or "").lower()]
    return (_NAMES[found[1].lower()] + sign) % 12


def fundamental_hz(signal: NDArray[np.float32], sample_rate: int) -> float | None:
    """Estimate a fundamental between 25 and 400 Hz from the autocorrelation; None where nothing repeats.

    Args:
        signal: `[T]`.
        sample_rate: In Hz.
    """
    heard = signal[round(_SKIPPED_S * sample_rate) :][: round(_HEARD_S * sample_rate)].astype(np.float64)
    shortest, longest = int(sample_rate / _HIGHEST_HZ), int(sample_rate / _LOWEST_HZ)
    if len(heard) <= longest or not heard.any():
        return None
    heard = heard - heard.mean()
    size = 2 * len(heard)
    spectrum = np.fft.rfft(heard, size)
    correlation = np.fft.irfft(np.square(np.abs(spectrum)), size)[: longest + 2]
    # Per pair of samples, relative to the energy of both: an even measure for short and long periods.
    energy = np.concatenate([[0.0], np.cumsum(np.square(heard))])
    lags = np.arange(len(correlation))
    both = energy[len(heard) - lags] + energy[-1] - energy[lags]
    likeness = 2 * correlation / np.maximum(both, 1e-12)
    inner = likeness[shortest : longest + 1]
    peaks = np.flatnonzero(
        (inner >= likeness[shortest - 1 : longest]) & (inner >= likeness[shortest + 1 : longest + 2])
    )
    good = peaks[inner[peaks] >= _PERIODIC * inner.max()] if peaks.size and inner.max() > 0.3 else peaks[:0]
    return float(sample_rate / (shortest + good[0])) if good.size else None


def note_of(signal: NDArray[np.float32], sample_rate: int, pitch_class: int) -> int | None:
    """Return the MIDI note of a sound whose pitch class is known, or None where it sounds otherwise.

    Args:
        signal: `[T]`.
        sample_rate: In Hz.
        pitch_class: 0 for C.
    """
    found_hz = fundamental_hz(signal, sample_rate)
    if found_hz is None:
        return None
    heard = 69 + 12 * np.log2(found_hz / 440)
    note = pitch_class + 12 * round((heard - pitch_class) / 12)
    return int(note) if abs(heard - note) <= _OFF else None
