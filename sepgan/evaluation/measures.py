"""What can be measured: every metric with its unit, definition and source, and the function that computes it.

A measure is prepared once for the references of a track and then applied to any number of estimates, so that what
depends only on the references is computed once. One measure may yield several metrics.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from sepgan.data.track import ACCOMPANIMENT
from sepgan.errors import UsageError
from sepgan.evaluation.bss_eval import BssEval
from sepgan.evaluation.metrics import MAXIMUM_DB, SilenceRule, frame_starts, framewise_sdr, global_sdr, si_sdr
from sepgan.evaluation.pairing import VOCALS
from sepgan.evaluation.spectral import (
    LSD_RANGE_DB,
    SILENCE_DBFS,
    SILENCE_S,
    log_spectral_distance,
    multi_resolution_stft,
    silence_leakage,
)


@dataclass(frozen=True)
class Metric:
    """How a metric is named, read and averaged."""

    name: str  # in scores.csv and scores.json
    title: str  # in tables for people
    unit: str
    framewise: bool  # a value per frame of a track; the track's score is their median
    over_tracks: Literal["median", "mean"]  # how published tables sum up a set of tracks
    definition: str
    source: str
    higher_is_better: bool = True

    def gap_closed(self, score: float, floor: float, oracle: float) -> float:
        """Share of the way from the floor to the oracle, 1 at the oracle.

        NaN where the oracle is not better than the floor, as with the SAR, which doing nothing wins.
        """
        gap = oracle - floor if self.higher_is_better else floor - oracle
        if not gap > 0:
            return math.nan
        return (score - floor) / (oracle - floor)


@dataclass(frozen=True)
class Truth:
    """What a measure is prepared for: one track's references, on the device to compute on."""

    references: Tensor  # [S, C, T]
    mixture: Tensor  # [C, T]
    sample_rate: int  # Hz
    silence: SilenceRule
    stems: tuple[str, ...] = ()  # names of the references
    others: Mapping[str, Tensor] = field(default_factory=dict)  # further stems of the track, not scored, [C, T]


Scorer = Callable[[Tensor], Mapping[str, Tensor]]
"""Estimates [S, C, T] -> metric name -> [S] or, for framewise metrics, [S, K]."""


@dataclass(frozen=True)
class Measure:
    """A function that scores estimates, and the metrics it yields."""

    metrics: tuple[Metric, ...]
    prepare: Callable[[Truth], Scorer]


def _csdr(truth: Truth) -> Scorer:
    window = truth.sample_rate  # 1 s
    return lambda estimates: {"csdr": framewise_sdr(truth.references, estimates, window, silence=truth.silence)}


def _usdr(truth: Truth) -> Scorer:
    return lambda estimates: {"usdr": global_sdr(truth.references, estimates)}


def _si_sdr(truth: Truth) -> Scorer:
    return lambda estimates: {"si_sdr": si_sdr(truth.references, estimates)}


def _bss_v4(truth: Truth) -> Scorer:
    window = truth.sample_rate  # 1 s
    evaluators = [
        (
            torch.tensor(scored),
            BssEval(
                truth.references[scored],
                window,
                others=torch.stack(others) if others else None,
                silence=truth.silence,
            ),
        )
        for scored, others in _independent(truth)
    ]

    def score(estimates: Tensor) -> Mapping[str, Tensor]:
        frames = len(frame_starts(estimates.shape[-1], window, window))
        found = {
            metric.name: torch.empty(len(estimates), frames, dtype=torch.float64, device=estimates.device)
            for metric in _BSS_V4
        }
        for scored, evaluator in evaluators:
            scores = evaluator.score(estimates[scored])
            for name, values in found.items():
                values[scored] = getattr(scores, name.rpartition(".")[2])
        return found

    return score


def _independent(truth: Truth) -> list[tuple[list[int], list[Tensor]]]:
    """Groups of references to project on together: those to score, by position, and the others.

    `accompaniment` is the sum of its own parts, so it stands apart from them, against the vocals alone, as in museval.
    """
    names = truth.stems or tuple(str(position) for position in range(len(truth.references)))
    positions = {stem: position for position, stem in enumerate(names)}
    known = {**dict(zip(names, truth.references, strict=True)), **truth.others}
    parts = [stem for stem in known if stem != ACCOMPANIMENT]
    groups = [parts, [ACCOMPANIMENT, VOCALS]] if not set(parts) <= {VOCALS} else [list(known)]
    found = []
    for group in groups:
        # In the second group the vocals can interfere, but have their score from the first.
        apart = group is not groups[0]
        scored = [stem for stem in group if stem in positions and (stem == ACCOMPANIMENT or not apart)]
        found.append((scored, [known[stem] for stem in group if stem in known and stem not in scored]))
    return [([positions[stem] for stem in scored], others) for scored, others in found if scored]


def _mr_stft(truth: Truth) -> Scorer:
    return lambda estimates: {"mr_stft": multi_resolution_stft(truth.references, estimates)}


def _lsd(truth: Truth) -> Scorer:
    return lambda estimates: {"lsd": log_spectral_distance(truth.references, estimates)}


def _leakage(truth: Truth) -> Scorer:
    return lambda estimates: {"leakage": silence_leakage(truth.references, estimates, truth.mixture, truth.sample_rate)}


_CSDR = Metric(
    "csdr",
    "cSDR",
    "dB",
    framewise=True,
    over_tracks="median",
    definition="Framewise SDR: 10 log10(|s|^2 / |s - e|^2) in windows of 1 s, hop 1 s, over all channels; median over "
    f"frames, then over tracks; capped at {MAXIMUM_DB:g} dB.",
    source="the SDR of BSSEval v4: Stöter, Liutkus, Ito, LVA/ICA 2018",
)
_USDR = Metric(
    "usdr",
    "uSDR",
    "dB",
    framewise=False,
    over_tracks="mean",
    definition="Global SDR: 10 log10((|s|^2 + 1e-7) / (|s - e|^2 + 1e-7)) over the whole track and all channels; mean "
    "over tracks; silence scores 0 dB.",
    source="Mitsufuji et al., Music Demixing Challenge 2021, equation 1",
)
_SI_SDR = Metric(
    "si_sdr",
    "SI-SDR",
    "dB",
    framewise=False,
    over_tracks="mean",
    definition="Scale-invariant SDR: 10 log10(|a s|^2 / |a s - e|^2) with a = <e, s> / |s|^2, over the whole track "
    "less its mean, one a for all channels; mean over tracks.",
    source="Le Roux et al., ICASSP 2019, equation 3",
)

_FILTERS = "512-tap filters fitted on the whole track, windows of 1 s, hop 1 s; median over frames, then over tracks"
_BSS_SOURCE = "BSSEval v4: Vincent, Gribonval, Févotte, IEEE TASLP 2006; Stöter, Liutkus, Ito, LVA/ICA 2018"
_BSS_V4 = tuple(
    Metric(
        f"bss_v4.{name}",
        f"BSS {name.upper()}",
        "dB",
        framewise=True,
        over_tracks="median",
        definition=f"{definition}; {_FILTERS}.",
        source=_BSS_SOURCE,
    )
    for name, definition in {
        "sdr": "Signal to distortion: 10 log10(|s|^2 / |e - s|^2), the same as cSDR",
        "isr": "Signal to spatial distortion: 10 log10(|s|^2 / |P_j e - s|^2), P_j e made of the source's own channels",
        "sir": "Signal to interference: 10 log10(|P_j e|^2 / |P e - P_j e|^2), P e made of all sources",
        "sar": "Signal to artifacts: 10 log10(|P e|^2 / |e - P e|^2)",
    }.items()
)
_MR_STFT = Metric(
    "mr_stft",
    "MR-STFT",
    "",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition="Multi-resolution STFT distance: spectral convergence plus L1 of log magnitudes, mean over three STFTs "
    "and over tracks; lower is better.",
    source="Yamamoto, Song, Kim, ICASSP 2020",
)
_LSD = Metric(
    "lsd",
    "LSD",
    "dB",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition=f"Log-spectral distance: RMS over bins of the difference of levels, down to {LSD_RANGE_DB:g} dB below "
    "the loudest, mean over frames and tracks; lower is better.",
    source="Gray, Markel, IEEE TASSP 1976",
)
_LEAKAGE = Metric(
    "leakage",
    "leakage",
    "dB",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition=f"Energy of the estimate where the reference stays below {SILENCE_DBFS:g} dBFS for {SILENCE_S:g} s or "
    "more, against the mixture's there; undefined without such a pause; mean over tracks; lower is better.",
    source="own definition",
)

MEASURES: dict[str, Measure] = {
    "csdr": Measure((_CSDR,), _csdr),
    "usdr": Measure((_USDR,), _usdr),
    "si_sdr": Measure((_SI_SDR,), _si_sdr),
    "bss_v4": Measure(_BSS_V4, _bss_v4),
    "mr_stft": Measure((_MR_STFT,), _mr_stft),
    "lsd": Measure((_LSD,), _lsd),
    "leakage": Measure((_LEAKAGE,), _leakage),
}

DEFAULT_MEASURES = ("csdr", "usdr", "si_sdr")


def find_measures(names: Iterable[str]) -> tuple[Measure, ...]:
    """The measures of these names, in order and once each.

    Args:
        names: Keys of `MEASURES`.

    Raises:
        UsageError: A name is unknown, or there is none.
    """
    unique = tuple(dict.fromkeys(names))
    unknown = [name for name in unique if name not in MEASURES]
    if unknown or not unique:
        given = f"metric {unknown[0]!r} is unknown" if unknown else "no metric was asked for"
        raise UsageError(f"{given}; choose from {', '.join(MEASURES)}")
    return tuple(MEASURES[name] for name in unique)
