"""Fréchet distance between the sound of estimates and that of true stems, over embeddings of short windows: realism.

It asks whether estimates sound like stems of that kind, whatever stem they should have been: windows of all tracks of a
set become points, and the points of estimates and references are compared as two Gaussians,

    d = |m_e - m_r|^2 + tr(C_e + C_r - 2 (C_e C_r)^(1/2))        means m, covariances C.

A swap of two good estimates between songs changes nothing, and a system that leaves out what is hard may gain: it
stands beside the ratios, never in their place.

The embedding here needs no download: level in 32 mel bands, mean and standard deviation over the frames of a window of
1 s, hop 0.5 s; so the unit of the distance is dB^2, and numbers of other embeddings are not comparable. The estimate of
the distance is biased upward, by about 1 / N for N windows: compare systems on the same tracks only. Below
`WINDOWS_PER_DIMENSION` windows for each of the embedding's dimensions a covariance means little, and the distance is
undefined.

Source: Kilgour, Zuluaga, Roblek, Sharifi, "Fréchet Audio Distance", Interspeech 2019; for the bias, Chong, Forsyth,
"Effectively Unbiased FID and Inception Score and Where to Find Them", CVPR 2020.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import librosa
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sepgan.evaluation.catalogue import FRECHET, Metric

BANDS = 32
LOWEST_HZ, HIGHEST_HZ = 50.0, 16000.0
WINDOW_S, HOP_S = 1.0, 0.5
FLOOR_DBFS = -80.0  # of a band's power, below which it counts as silent
WINDOWS_PER_DIMENSION = 2

_FRAME_S = 0.046  # of an STFT frame, about; a power of two in samples
_FRAMES_AT_ONCE = 1024

Matrix = npt.NDArray[np.float64]


class Embedder(Protocol):
    """Turns audio into points."""

    @property
    def metric(self) -> Metric:
        """The distance over these points."""

    def __call__(self, waveform: Tensor, sample_rate: int) -> Matrix:
        """Points [N, D] of the windows of a waveform [C, T]."""


class LogMelStatistics:
    """Means and standard deviations over time of levels in mel bands; the powers of channels are averaged."""

    metric = FRECHET

    def __call__(self, waveform: Tensor, sample_rate: int) -> Matrix:
        """Points [N, 2 BANDS] in dB, one for each window of `WINDOW_S`; bands beyond the rate's half are silent.

        Args:
            waveform: [C, T]; a rest shorter than a window is left out, but for a signal that is shorter itself.
            sample_rate: In Hz.

        >>> LogMelStatistics()(torch.zeros(2, 20000), 8000).shape
        (3, 64)
        """
        levels = self._levels_db(waveform, sample_rate)  # [BANDS, frames]
        frames_per_s = sample_rate / self._hop(sample_rate)
        width = min(round(WINDOW_S * frames_per_s), levels.shape[-1])
        windows = levels.unfold(-1, width, max(1, round(HOP_S * frames_per_s)))  # [BANDS, N, width]
        points = torch.cat([windows.mean(-1), windows.std(-1, correction=0)])
        return np.asarray(points.T.double().cpu().numpy(), np.float64)

    def _levels_db(self, waveform: Tensor, sample_rate: int) -> Tensor:
        size, hop = 2 * self._hop(sample_rate), self._hop(sample_rate)
        padded = torch.nn.functional.pad(waveform, (0, max(0, size - waveform.shape[-1])))
        frames = padded.unfold(-1, size, hop)  # [C, frames, size]
        window = torch.hann_window(size, dtype=waveform.dtype, device=waveform.device)
        filters = torch.from_numpy(_filters(sample_rate, size)).to(waveform)
        bands = []
        for first in range(0, frames.shape[1], _FRAMES_AT_ONCE):
            piece = frames[:, first : first + _FRAMES_AT_ONCE]
            # A sine of amplitude 1 has power 1, whatever the rate.
            power = (torch.fft.rfft(piece * window) * (4 / size)).abs().square().mean(0)
            bands.append(filters @ power.T)
        levels: Tensor = 10 * torch.cat(bands, -1).clamp(min=10 ** (FLOOR_DBFS / 10)).log10()
        return levels

    def _hop(self, sample_rate: int) -> int:
        return int(2 ** round(math.log2(_FRAME_S * sample_rate))) // 2


@dataclass(frozen=True)
class Moments:
    """What a Gaussian needs of its points, in sums, so that tracks can be added up."""

    count: int
    total: Matrix  # [D]
    products: Matrix  # [D, D]

    @classmethod
    def of(cls, points: Matrix) -> "Moments":
        """Of points [N, D]."""
        return cls(len(points), points.sum(0), points.T @ points)

    def __add__(self, other: "Moments") -> "Moments":
        """Of the points of both."""
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def enough(self) -> int:
        """How many points a distance needs."""
        return WINDOWS_PER_DIMENSION * len(self.total)

    @property
    def mean(self) -> Matrix:
        """[D]."""
        return self.total / self.count

    @property
    def covariance(self) -> Matrix:
        """[D, D]."""
        centred = self.products - np.outer(self.total, self.mean)
        return np.asarray((centred + centred.T) / 2 / (self.count - 1), np.float64)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared Fréchet distance between two Gaussians, at least 0; NaN with too few points.

    Args:
        first: Of one set of points.
        second: Of another, of the same dimension.

    >>> points = np.random.default_rng(0).normal(size=(40, 2))
    >>> round(frechet_distance(Moments.of(points), Moments.of(points + 3.0)), 6)
    18.0
    """
    if min(first.count, second.count) < first.enough:
        return math.nan
    difference = first.mean - second.mean
    root = _square_root(first.covariance)
    # tr (A B)^(1/2) from eigenvalues of the symmetric A^(1/2) B A^(1/2), which rounding cannot make complex.
    middle = np.linalg.eigvalsh(root @ second.covariance @ root)
    spread = np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.sqrt(middle.clip(min=0)).sum()
    return max(0.0, float(difference @ difference + spread))


def _square_root(matrix: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T, np.float64)


def _filters(sample_rate: int, size: int) -> Matrix:
    """Triangles over mel bands, each averaging the power around its centre, [BANDS, F]; none above half the rate."""
    edges = librosa.mel_frequencies(BANDS + 2, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, htk=True)
    bins = np.fft.rfftfreq(size, 1 / sample_rate)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    weights *= high <= sample_rate / 2
    return np.asarray(weights / weights.sum(1, keepdims=True).clip(min=1e-9), np.float64)
