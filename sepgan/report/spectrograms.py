"""Spectrograms of an excerpt: level over time and log frequency, and where an estimate differs from its reference.

All pictures of a strip share one time axis, one frequency axis and one scale, so that they can be compared by eye.
"""

import io
from collections.abc import Mapping, Sequence

import librosa
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Colormap, LinearSegmentedColormap
from PIL import Image

from sepgan.report.blocks import Spectrogram
from sepgan.report.page import MINUS
from sepgan.report.sound import Waveform

Levels = npt.NDArray[np.float64]  # [row, column] in dB, the lowest frequency first

N_FFT_S = 0.093  # 4096 samples at 44.1 kHz: partials of low voices are apart, drum hits still sharp
COLUMNS, ROWS = 420, 150  # of a picture, in pixels
LOWEST_HZ, HIGHEST_HZ = 50.0, 16000.0
TOP = 0.94  # share of a picture's height above which half a label would be cut off
RANGE_DB = 80.0  # from the brightest to the darkest colour
DIFFERENCE_DB = 24.0  # where the colours of a difference end
_COLOURS = 65  # fewer than a byte holds, as PNG cannot compress noise in the lowest bits; odd, so that 0 dB is black
# Blue is missing, orange is added: a pair that is told apart with every kind of colour blindness. Black is equal.
_DIFFERENCE_COLOURS = ["#8fd0ff", "#0072b2", "#000000", "#d55e00", "#ffd08a"]


def strip(
    waveforms: Mapping[str, Waveform], sample_rate: int, differences: Sequence[tuple[str, str, str]] = ()
) -> tuple[Spectrogram, ...]:
    """Pictures of waveforms, in the order given, each followed by the differences that start from it.

    Args:
        waveforms: Title -> [C, T], all of one length; the channels' powers are averaged.
        sample_rate: In Hz.
        differences: Title, and the titles of an estimate and of the reference it is compared with.
    """
    levels = {title: levels_db(waveform, sample_rate) for title, waveform in waveforms.items()}
    top_db = max((float(level.max()) for level in levels.values()), default=0.0)
    pictures = []
    for title, level in levels.items():
        pictures.append(_level_picture(title, level, top_db, sample_rate))
        for name, estimate, reference in differences:
            if estimate == title:
                pictures.append(_difference_picture(name, level, levels[reference], top_db, sample_rate))
    return tuple(pictures)


def levels_db(waveform: Waveform, sample_rate: int) -> Levels:
    """Power over log frequency and time, in dB relative to a sine of amplitude 1.

    Args:
        waveform: [C, T].
        sample_rate: In Hz.

    Returns:
        [ROWS, COLUMNS].
    """
    n_fft = 2 ** round(np.log2(N_FFT_S * sample_rate))
    samples = waveform.shape[-1]
    padded = np.pad(waveform, ((0, 0), (0, max(0, n_fft - samples))))
    hop = max(1, padded.shape[-1] // COLUMNS)
    spectrum = librosa.stft(padded, n_fft=n_fft, hop_length=hop)
    power = np.square(np.abs(spectrum) * 4 / n_fft).mean(0)
    columns = np.linspace(0, samples / hop, COLUMNS).round().astype(int).clip(max=power.shape[1] - 1)
    rows = _weights(sample_rate, n_fft) @ power[:, columns]
    return np.asarray(librosa.power_to_db(rows, amin=1e-12, top_db=None), np.float64)


def _weights(sample_rate: int, n_fft: int) -> Levels:
    """Triangles on log-spaced centres, at least a bin wide, [ROWS, F]; each averages the power around its centre."""
    centres = np.geomspace(LOWEST_HZ, _highest_hz(sample_rate), ROWS)[:, None]
    width = np.maximum(np.gradient(centres[:, 0])[:, None], sample_rate / n_fft)
    weights = (1 - np.abs(librosa.fft_frequencies(sr=sample_rate, n_fft=n_fft) - centres) / width).clip(min=0)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _highest_hz(sample_rate: int) -> float:
    return min(HIGHEST_HZ, sample_rate / 2)


def _ticks(sample_rate: int) -> tuple[tuple[str, float], ...]:
    span = np.log(_highest_hz(sample_rate) / LOWEST_HZ)
    marks = {"100": 100, "1k": 1000, "10k": 10000}
    heights = {label: float(np.log(hz / LOWEST_HZ) / span) for label, hz in marks.items()}
    return tuple((label, round(height, 3)) for label, height in heights.items() if height <= TOP)


def _level_picture(title: str, level: Levels, top_db: float, sample_rate: int) -> Spectrogram:
    scaled = (level - top_db) / RANGE_DB + 1
    scale = (f"{MINUS}{RANGE_DB:.0f} dB", "", "loudest")
    return Spectrogram(title, _png(scaled, colormaps["magma"]), _ticks(sample_rate), scale)


def _difference_picture(
    title: str, estimate: Levels, reference: Levels, top_db: float, sample_rate: int
) -> Spectrogram:
    # What lies below the scale of the other pictures is not audible beside them, so it does not count as different.
    floor = top_db - RANGE_DB
    difference = np.maximum(estimate, floor) - np.maximum(reference, floor)
    scaled = (difference / DIFFERENCE_DB + 1) / 2
    scale = (f"{MINUS}{DIFFERENCE_DB:.0f} dB", "missing | added", f"+{DIFFERENCE_DB:.0f} dB")
    return Spectrogram(
        title,
        _png(scaled, LinearSegmentedColormap.from_list("difference", _DIFFERENCE_COLOURS, _COLOURS)),
        _ticks(sample_rate),
        scale,
        "difference",
    )


def _png(scaled: Levels, colours: Colormap) -> bytes:
    """A picture of values from 0 to 1, the first row at the bottom."""
    palette = colours(np.linspace(0, 1, _COLOURS))[:, :3]
    indices = (scaled[::-1].clip(0, 1) * (_COLOURS - 1)).round().astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette((255 * palette).round().astype(np.uint8).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
