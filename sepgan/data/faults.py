"""Measurements that tell a faulty recording from a good one: silence, clipping, bleed, and whose copy it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sepgan import audio

SILENT_PEAK = 1e-4  # -80 dBFS
CLIP_LEVEL = 0.98  # of full scale; below it a run of equal samples is no clipping
CLIP_RUN = 3  # equal samples at the largest magnitude in a row
WINDOW = 2048  # samples of a frame, 46 ms at 44.1 kHz: longer than sound takes from one microphone to the next
MIN_FRAMES = 64  # below this coherence is guesswork
MAX_FRAMES = 600  # 14 s, spread over the song
LOWEST_LEVEL = 3e-4  # -70 dBFS: rounding to 16 bits and codec noise lie below

PRINT_RATE = 4000  # Hz of the waveform that is kept to compare songs
PRINT_S = 20.0  # seconds of it
ENVELOPE_S = 0.1  # a step of the envelope
MAX_SHIFT_S = 0.15  # codecs and editors move a copy by less

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a recording to recognise a copy, be it louder, recoded or moved a little."""

    envelope: Float  # [steps], of unit length and zero mean
    waveform: Float  # [samples at PRINT_RATE], of unit length


def is_silent(waveform: Float) -> bool:
    """Whether a waveform `[C, T]` never exceeds -80 dBFS."""
    return float(np.abs(waveform).max(initial=0.0)) < SILENT_PEAK


def clipped_share(waveform: Float) -> float:
    """Return the share of samples of `[C, T]` in runs at full scale or at a flat top near it."""
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < CLIP_LEVEL:
        return 0.0
    top = np.abs(waveform) >= min(peak, 1.0) - 2**-15
    runs = top[:, CLIP_RUN - 1 :].copy()
    for shift in range(CLIP_RUN - 1):
        runs &= top[:, shift : shift - CLIP_RUN + 1]
        runs &= waveform[:, shift : shift - CLIP_RUN + 1] == waveform[:, CLIP_RUN - 1 :]
    return float(runs.sum()) / max(1, waveform.size)


@dataclass(frozen=True)
class Spectra:
    """Spectra of frames of a waveform, `[frames, bins]`, with what is asked of them again and again."""

    bins: NDArray[np.complex64]
    power: Float

    @property
    def levels(self) -> NDArray[np.float64]:
        """Root mean square of each frame."""
        # Parseval over half a spectrum; a Hann window passes 3/8 of the power.
        return np.asarray(np.sqrt(2 * self.power.sum(1, dtype=np.float64) / WINDOW**2 / 0.375))

    def take(self, chosen: NDArray[np.bool_]) -> Spectra:
        """Return some of the frames."""
        return self if chosen.all() else Spectra(self.bins[chosen], self.power[chosen])


def median_frequency(spectra: Spectra, sample_rate: int) -> float:
    """Return the frequency in Hz below which half the energy lies."""
    total = np.cumsum(spectra.power.sum(0))
    return float(np.searchsorted(total, 0.5 * total[-1])) * sample_rate / WINDOW


def frames_of(waveform: Float) -> Spectra:
    """Return spectra of at most MAX_FRAMES frames of the mean of all channels of `[C, T]`.

    Frames of two waveforms of one length lie at the same places.
    """
    mono = waveform.mean(0)
    if len(mono) < WINDOW:
        mono = np.pad(mono, (0, WINDOW - len(mono)))
    views = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[:: WINDOW // 2]
    if len(views) > MAX_FRAMES:  # neighbours stay together: every other pair, or fewer
        views = views[np.linspace(0, len(views) - 1, MAX_FRAMES).astype(int)]
    window = np.hanning(WINDOW).astype(np.float32)
    bins = np.fft.rfft(views * window).astype(np.complex64)
    return Spectra(bins, np.square(bins.real) + np.square(bins.imag))


def explained_share(heard: Spectra, source: Spectra) -> float:
    """Return the share of energy in `heard` that a fixed filter makes of `source`, from 0 to 1; NaN when too short.

    The magnitude-squared coherence of each bin, less its bias, weighted by the energy of `heard`. Frames in which
    either rests tell nothing and are left out.
    """
    both = (heard.levels > LOWEST_LEVEL) & (source.levels > LOWEST_LEVEL)
    count = int(both.sum())
    if count < MIN_FRAMES:
        return float("nan")
    heard, source = heard.take(both), source.take(both)
    cross = np.abs(np.einsum("fb,fb->b", heard.bins, source.bins.conj())) ** 2
    own, other = heard.power.sum(0), source.power.sum(0)
    coherence = cross / np.maximum(own * other, 1e-20)
    bias = 2.0 / count  # 1 / count of independent frames; these overlap by half
    return float((own * np.clip((coherence - bias) / (1 - bias), 0.0, 1.0)).sum() / max(float(own.sum()), 1e-20))


def explained_in_rests(heard: Spectra, source: Spectra) -> float:
    """Return `explained_share` where `heard` is 20 dB below its loudest and `source` is not: bleed shows in rests."""
    own, other = heard.levels, source.levels
    resting = (own < 0.1 * own.max(initial=0.0)) & (other > 0.3 * other.max(initial=0.0))
    return explained_share(heard.take(resting), source.take(resting))


def residual_db(total: Float, mixture: Float) -> float:
    """Return how far stems miss their mixture, relative to it, in dB: the worst channel of `[C, T]`."""
    energy = np.square(mixture, dtype=np.float64).sum(1)
    rest = np.square(mixture - total, dtype=np.float64).sum(1)
    heard = energy > SILENT_PEAK**2 * mixture.shape[1]
    ratios = np.where(heard, rest / np.maximum(energy, 1e-20), np.where(rest > energy + 1e-9, 1.0, 0.0))
    return float(10 * np.log10(max(float(ratios.max()), 1e-20)))


def fitting_gain_db(total: Float, mixture: Float) -> float | None:
    """Return the one gain in dB that makes stems sum to their mixture within -30 dB; None where there is none."""
    energy = float(np.square(total, dtype=np.float64).sum())
    gain = float((total.astype(np.float64) * mixture).sum()) / energy if energy else 0.0
    if gain <= 0 or residual_db(np.float32(gain) * total, mixture) > -30:
        return None
    return float(20 * np.log10(gain))


def fingerprint(waveform: Float, sample_rate: int) -> Fingerprint:
    """Return what is needed to recognise a copy of `[C, T]`."""
    start = audio_start(waveform)
    piece = waveform[:, start : start + round(PRINT_S * sample_rate)].mean(0, keepdims=True)
    narrow = audio.resample(piece, sample_rate, PRINT_RATE)[0]
    step = round(ENVELOPE_S * PRINT_RATE)
    blocks = narrow[: len(narrow) // step * step].reshape(-1, step)
    levels = np.log10(np.sqrt(np.square(blocks).mean(1)) + 1e-4)
    return Fingerprint(_unit(levels - levels.mean() if len(levels) else levels), _unit(narrow))


def audio_start(waveform: Float) -> int:
    """Return the first sample of `[C, T]` that is heard, so that a copy with its silence trimmed is still one."""
    heard = np.abs(waveform).max(0) > 10 * SILENT_PEAK
    return int(np.argmax(heard)) if heard.any() else 0


def same_recording(first: Fingerprint, second: Fingerprint) -> bool:
    """Whether two fingerprints are of one recording."""
    steps = min(len(first.envelope), len(second.envelope))
    if steps < 2 or abs(len(first.envelope) - len(second.envelope)) > 3:
        return False
    # Envelopes first: they are a hundred times shorter, and rule nearly everything out.
    if steps >= 10 and float(first.envelope[:steps] @ second.envelope[:steps]) < 0.8:
        return False
    samples = min(len(first.waveform), len(second.waveform))
    size = 1 << (2 * samples - 1).bit_length()
    spectrum = np.fft.rfft(first.waveform[:samples], size) * np.fft.rfft(second.waveform[:samples], size).conj()
    correlation = np.abs(np.fft.irfft(spectrum, size))
    shift = round(MAX_SHIFT_S * PRINT_RATE)
    return max(float(correlation[:shift].max()), float(correlation[-shift:].max())) > 0.9


def _unit(values: NDArray[np.floating]) -> Float:
    norm = float(np.linalg.norm(values))
    return (values / norm if norm > 0 else values).astype(np.float32)
