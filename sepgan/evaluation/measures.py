"""What can be measured: every metric with its unit, definition and source, and the function that computes it.

A measure is prepared once for the references of a track and then applied to any number of estimates, so that what
depends only on the references is computed once. One measure may yield several metrics.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sepgan.errors import UsageError
from sepgan.evaluation.metrics import MAXIMUM_DB, SilenceRule, framewise_sdr, global_sdr, si_sdr


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


@dataclass(frozen=True)
class Truth:
    """What a measure is prepared for: one track's references, on the device to compute on."""

    references: Tensor  # [S, C, T]
    mixture: Tensor  # [C, T]
    sample_rate: int  # Hz
    silence: SilenceRule


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

MEASURES: dict[str, Measure] = {
    "csdr": Measure((_CSDR,), _csdr),
    "usdr": Measure((_USDR,), _usdr),
    "si_sdr": Measure((_SI_SDR,), _si_sdr),
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
