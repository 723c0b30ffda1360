"""Score a model on held-out songs, song by song, and two models against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from sepgan.evaluation.frechet import LogMelStatistics, Moments, frechet_distance
from sepgan.evaluation.metrics import global_sdr
from sepgan.evaluation.spectral import multi_resolution_stft, silence_leakage
from sepgan.evaluation.statistics import MINIMUM_TRACKS, difference_interval, interval
from sepgan.separator import Separator
from sepgan.streaming import separate_array, whole
from sepgan.training.validation import ValidationSong

Values = npt.NDArray[np.float64]

METRICS = {"usdr": "Global SDR (uSDR, dB)", "mr_stft": "MR-STFT distance", "leakage": "Leakage into pauses (dB)"}
REALISM = "Fréchet distance of log-mel statistics"
SDR_LOSS_DB = 0.1  # what may be paid for realism
RESAMPLES = 200  # of the interval of the Fréchet distance, each of which takes two eigenvalue problems


@dataclass(frozen=True)
class Scored:
    """What one model reached."""

    share: float  # of the adversarial weights
    songs: Mapping[str, Values]  # by metric: the mean over the stems of each song; NaN where it is undefined
    moments: Sequence[tuple[Moments, Moments]]  # of true and estimated stems, of each song
    stems: Sequence[Mapping[str, Mapping[str, float]]] = field(default=())  # by song, stem and metric

    def mean(self, metric: str) -> float:
        """Over songs."""
        values = self.songs[metric]
        return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan

    @property
    def realism(self) -> float:
        """Fréchet distance over all songs; lower is better."""
        return _distance(self.moments)


def score(separator: Separator, songs: Sequence[ValidationSong], share: float) -> Scored:
    """Separate all songs and measure their stems."""
    rows: dict[str, list[float]] = {metric: [] for metric in METRICS}
    stems = []
    moments = []
    embed = LogMelStatistics()
    for song in songs:
        references = torch.stack(list(song.references.values()))  # [S, C, T]
        mixture = references.sum(0)
        found = separate_array(whole(separator), mixture, segment=separator.segment, overlap=separator.overlap)
        estimates = torch.stack([found[sorted(song.covers[stem])].sum(0).cpu() for stem in song.references])
        values = {
            "usdr": global_sdr(references, estimates),
            "mr_stft": multi_resolution_stft(references, estimates),
            "leakage": silence_leakage(references, estimates, mixture, separator.sample_rate),
        }
        for metric, scores in values.items():
            rows[metric].append(float(scores.nanmean()))
        stems.append(
            {
                stem: {metric: float(scores[index]) for metric, scores in values.items()}
                for index, stem in enumerate(song.references)
            }
        )
        sides = [
            np.concatenate([embed(stem, separator.sample_rate) for stem in side]) for side in (references, estimates)
        ]
        moments.append((Moments.of(sides[0]), Moments.of(sides[1])))
    return Scored(share, {metric: np.asarray(values) for metric, values in rows.items()}, moments, stems)


@dataclass(frozen=True)
class Difference:
    """Adversarial less plain, by one measure; intervals of 95 % over songs, NaN with too few of them."""

    name: str
    adversarial: float
    plain: float
    difference: float
    low: float
    high: float
    songs: int


def differences(adversarial: Scored, plain: Scored) -> list[Difference]:
    """Both models side by side; songs stay together."""
    found = []
    for metric, name in METRICS.items():
        first, second = adversarial.songs[metric], plain.songs[metric]
        both = np.isfinite(first) & np.isfinite(second)
        first, second = first[both], second[both]
        low, high = (math.nan, math.nan)
        if len(first) >= MINIMUM_TRACKS:
            low, high = difference_interval(first, second, "mean")
        ends = [float(side.mean()) if len(side) else math.nan for side in (first, second)]
        found.append(Difference(name, ends[0], ends[1], ends[0] - ends[1], low, high, len(first)))
    low, high = _realism_interval(adversarial, plain)
    ends = [adversarial.realism, plain.realism]
    found.append(Difference(REALISM, ends[0], ends[1], ends[0] - ends[1], low, high, len(plain.moments)))
    return found


def own_interval(scored: Scored, metric: str) -> tuple[float, float]:
    """Bootstrap interval of a model's mean over songs."""
    values = scored.songs[metric]
    values = values[np.isfinite(values)]
    return interval(values, "mean") if len(values) >= MINIMUM_TRACKS else (math.nan, math.nan)


def _realism_interval(adversarial: Scored, plain: Scored) -> tuple[float, float]:
    songs = len(plain.moments)
    if songs < MINIMUM_TRACKS:
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(songs, size=songs)
        sides = [_distance([scored.moments[index] for index in drawn]) for scored in (adversarial, plain)]
        found.append(sides[0] - sides[1])
    low, high = np.quantile(found, [0.025, 0.975]) if np.isfinite(found).all() else (math.nan, math.nan)
    return float(low), float(high)


def _distance(moments: Sequence[tuple[Moments, Moments]]) -> float:
    true, estimated = moments[0]
    for first, second in moments[1:]:
        true, estimated = true + first, estimated + second
    return frechet_distance(true, estimated)


def choose(curve: Sequence[Scored]) -> Scored:
    """The most realistic model whose global SDR is at most 0.1 dB below that of the plain twin.

    Args:
        curve: The plain twin first. Where no distance is defined, the MR-STFT distance stands for realism.
    """
    least = curve[0].mean("usdr") - SDR_LOSS_DB
    allowed = [scored for scored in curve if scored.mean("usdr") >= least]
    defined = all(math.isfinite(scored.realism) for scored in curve)
    return min(allowed or curve[:1], key=lambda scored: scored.realism if defined else scored.mean("mr_stft"))
