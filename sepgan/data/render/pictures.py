"""What was rendered, to look at: the piano roll of a stem above the spectrogram of its sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_N_FFT, _HOP = 4096, 2048
_RANGE_DB = 80.0
_COLUMNS = 1200  # of a picture; longer spectrograms are averaged down to it
_LOWEST_HZ = 30.0
_WIDTH_IN, _HEIGHT_IN, _DPI = 12.0, 6.0, 90


Bar = tuple[float, float, int, int, int]
"""Start and end in seconds, height, strength from 0 to 127, and what it is coloured by."""


def draw_stem(
    path: Path,
    title: str,
    bars: Sequence[Bar],
    waveform: NDArray[np.float32],
    sample_rate: int,
    *,
    height: str = "MIDI note",
) -> None:
    """Write a PNG with the piano roll and the spectrogram of a stem over one time axis.

    Args:
        path: The picture.
        title: Above it.
        bars: What was played, drums by their note numbers.
        waveform: `[C, T]`.
        sample_rate: In Hz.
        height: What the height of a bar is.
    """
    # Not through pyplot, which keeps global state: this runs in several threads.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    duration_s = waveform.shape[1] / sample_rate
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI)
    FigureCanvasAgg(figure)
    place = {"left": 0.06, "right": 0.92, "top": 0.94, "bottom": 0.09, "hspace": 0.07}
    roll, spectrum = figure.subplots(2, 1, sharex=True, gridspec_kw=place)
    lines = [((start_s, note), (end_s, note)) for start_s, end_s, note, _, _ in bars]
    colours = colormaps["tab10"](np.array([channel for *_, channel in bars]) % 10)
    colours[:, 3] = 0.5 + 0.5 * np.array([velocity for *_, velocity, _ in bars]) / 127
    roll.add_collection(LineCollection(lines, colors=colours, linewidths=2.5))
    low, high = min(bar[2] for bar in bars), max(bar[2] for bar in bars)
    roll.set(title=title, ylabel=height, ylim=(low - 2, high + 2))
    level_db, frequencies_hz = _levels_db(waveform, sample_rate)
    drawn = spectrum.pcolormesh(
        np.linspace(0, duration_s, level_db.shape[1] + 1), frequencies_hz, level_db,
        cmap="magma", vmin=-_RANGE_DB, vmax=0, shading="flat", rasterized=True,
    )  # fmt: skip
    spectrum.set(yscale="log", ylim=(_LOWEST_HZ, sample_rate / 2), xlim=(0, duration_s))
    spectrum.set(xlabel="time (s)", ylabel="frequency (Hz)")
    figure.colorbar(drawn, cax=figure.add_axes((0.93, 0.09, 0.012, 0.41)), label="dB below the loudest")
    figure.savefig(path)


def _levels_db(waveform: NDArray[np.float32], sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level `[rows, columns]` beside the loudest, and the frequency of the edges of rows, spaced like a keyboard."""
    mono = np.pad(waveform.mean(0), (0, _N_FFT))
    frames = np.lib.stride_tricks.sliding_window_view(mono, _N_FFT)[::_HOP]
    blocks = np.array_split(frames, len(frames) // 64 + 1)  # minutes at once would take gigabytes
    power = np.concatenate([np.abs(np.fft.rfft(block * np.hanning(_N_FFT))) ** 2 for block in blocks]).T
    if power.shape[1] > _COLUMNS:
        edges = np.linspace(0, power.shape[1], _COLUMNS + 1).astype(int)[:-1]
        power = np.add.reduceat(power, edges, axis=1) / np.diff(np.append(edges, power.shape[1]))
    edges_hz = np.geomspace(_LOWEST_HZ, sample_rate / 2, 200)
    bins = np.clip((np.sqrt(edges_hz[:-1] * edges_hz[1:]) * _N_FFT / sample_rate).round().astype(int), 0, _N_FFT // 2)
    levels = 10 * np.log10(np.maximum(power[bins], 1e-20))
    return levels - levels.max(), edges_hz
