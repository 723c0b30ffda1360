"""What can be measured, by name: the function that computes each metric of the catalogue.

A measure is prepared once for the references of a track and then applied to any number of estimates, so that what
depends only on the references is computed once. One measure may yield several metrics.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sepgan.data.track import ACCOMPANIMENT
from sepgan.errors import UsageError
from sepgan.evaluation import catalogue
from sepgan.evaluation.bleed import bleedless_and_fullness
from sepgan.evaluation.bss_eval import BssEval
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.frechet import Embedder, LogMelStatistics
from sepgan.evaluation.metrics import SilenceRule, framewise_sdr, global_sdr, mean_squared_error, si_sdr
from sepgan.evaluation.pairing import VOCALS
from sepgan.evaluation.scale_invariant import si_sir_and_sar
from sepgan.evaluation.spectral import log_spectral_distance, multi_resolution_stft, silence_leakage


@dataclass(frozen=True)
class Truth:
    """What a measure is prepared for: one track's references, on the device to compute on."""

    references: Tensor  # [S, C, T]
    mixture: Tensor  # [C, T]
    sample_rate: int  # Hz
    silence: SilenceRule
    stems: tuple[str, ...] = ()  # names of the references
    others: Mapping[str, Tensor] = field(default_factory=dict)  # further stems of the track, not scored, [C, T]


_Function = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Scorer:
    """A measure that is prepared for one track."""

    function: _Function
    load: float = 0.0  # on the diagonal of BSSEval's equations, where the references make them singular

    def __call__(self, estimates: Tensor) -> Mapping[str, Tensor]:
        """Score estimates [S, C, T]: metric name -> [S] or, for framewise metrics, [S, K]."""
        return self.function(estimates)


@dataclass(frozen=True)
class Measure:
    """A function that scores estimates, and the metrics it yields."""

    metrics: tuple[Metric, ...]
    prepare: Callable[[Truth], Scorer]


def _csdr(truth: Truth) -> Scorer:
    window = truth.sample_rate  # 1 s
    return Scorer(lambda estimates: {"csdr": framewise_sdr(truth.references, estimates, window, silence=truth.silence)})


def _usdr(truth: Truth) -> Scorer:
    return Scorer(lambda estimates: {"usdr": global_sdr(truth.references, estimates)})


def _si_sdr(truth: Truth) -> Scorer:
    return Scorer(lambda estimates: {"si_sdr": si_sdr(truth.references, estimates)})


def _si_bss(truth: Truth) -> Scorer:
    def prepare(references: Tensor, others: Tensor | None) -> Scorer:
        def score(estimates: Tensor) -> Mapping[str, Tensor]:
            sir, sar = si_sir_and_sar(references, estimates, others)
            return {"si_sir": sir, "si_sar": sar}

        return Scorer(score)

    return _grouped(truth, prepare)


def _bss_v4(truth: Truth) -> Scorer:
    def prepare(references: Tensor, others: Tensor | None) -> Scorer:
        evaluator = BssEval(references, truth.sample_rate, others=others, silence=truth.silence)  # frames of 1 s

        def score(estimates: Tensor) -> Mapping[str, Tensor]:
            found = evaluator.score(estimates)
            return {metric.name: getattr(found, metric.name.rpartition(".")[2]) for metric in catalogue.BSS_V4}

        return Scorer(score, evaluator.load)

    return _grouped(truth, prepare)


def _bss_v3(truth: Truth) -> Scorer:
    def prepare(references: Tensor, others: Tensor | None) -> Scorer:
        mono = None if others is None else others.mean(1, keepdim=True)
        # One frame as long as the track. The rule of museval is one for frames, and would drop the whole track.
        evaluator = BssEval(references.mean(1, keepdim=True), references.shape[-1], others=mono)

        def score(estimates: Tensor) -> Mapping[str, Tensor]:
            found = evaluator.score_sources(estimates.mean(1, keepdim=True))
            return {metric.name: getattr(found, metric.name.rpartition(".")[2])[:, 0] for metric in catalogue.BSS_V3}

        return Scorer(score, evaluator.load)

    return _grouped(truth, prepare)


def _grouped(truth: Truth, prepare: Callable[[Tensor, Tensor | None], Scorer]) -> Scorer:
    """A scorer that projects on groups of independent references: `prepare` is given each group and its others."""
    groups = [
        (torch.tensor(scored), prepare(truth.references[scored], torch.stack(list(others)) if others else None))
        for scored, others in _independent(truth)
    ]

    def score(estimates: Tensor) -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        for scored, scorer in groups:
            for name, values in scorer(estimates[scored]).items():
                found.setdefault(name, values.new_empty(len(estimates), *values.shape[1:]))[scored] = values
        return found

    return Scorer(score, max((scorer.load for _, scorer in groups), default=0.0))


def _independent(truth: Truth) -> list[tuple[list[int], Sequence[Tensor]]]:
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


def _mse(truth: Truth) -> Scorer:
    return Scorer(lambda estimates: {"mse": mean_squared_error(truth.references, estimates)})


def _mr_stft(truth: Truth) -> Scorer:
    return Scorer(lambda estimates: {"mr_stft": multi_resolution_stft(truth.references, estimates)})


def _lsd(truth: Truth) -> Scorer:
    return Scorer(lambda estimates: {"lsd": log_spectral_distance(truth.references, estimates)})


def _leakage(truth: Truth) -> Scorer:
    return Scorer(
        lambda estimates: {"leakage": silence_leakage(truth.references, estimates, truth.mixture, truth.sample_rate)}
    )


def _bleed(truth: Truth) -> Scorer:
    def score(estimates: Tensor) -> Mapping[str, Tensor]:
        bleedless, fullness = bleedless_and_fullness(truth.references, estimates, truth.sample_rate)
        return {"bleedless": bleedless, "fullness": fullness}

    return Scorer(score)


MEASURES: dict[str, Measure] = {
    "csdr": Measure((catalogue.CSDR,), _csdr),
    "usdr": Measure((catalogue.USDR,), _usdr),
    "si_sdr": Measure((catalogue.SI_SDR,), _si_sdr),
    "si_bss": Measure(catalogue.SI_BSS, _si_bss),
    "bss_v4": Measure(catalogue.BSS_V4, _bss_v4),
    "bss_v3": Measure(catalogue.BSS_V3, _bss_v3),
    "mse": Measure((catalogue.MSE,), _mse),
    "mr_stft": Measure((catalogue.MR_STFT,), _mr_stft),
    "lsd": Measure((catalogue.LSD,), _lsd),
    "bleed": Measure(catalogue.BLEED, _bleed),
    "leakage": Measure((catalogue.LEAKAGE,), _leakage),
}

EMBEDDERS: dict[str, Embedder] = {"frechet": LogMelStatistics()}  # of distances that only a whole set has

DEFAULT_MEASURES = ("csdr", "usdr", "si_sdr")


def find_measures(names: Iterable[str]) -> tuple[Measure, ...]:
    """The measures of single tracks among these names, in order and once each.

    Args:
        names: Keys of `MEASURES` and `EMBEDDERS`.

    Raises:
        UsageError: A name is unknown, or there is none.
    """
    unique = tuple(dict.fromkeys(names))
    unknown = [name for name in unique if name not in MEASURES and name not in EMBEDDERS]
    if unknown or not unique:
        given = f"metric {unknown[0]!r} is unknown" if unknown else "no metric was asked for"
        raise UsageError(f"{given}; choose from {', '.join([*MEASURES, *EMBEDDERS])}")
    return tuple(MEASURES[name] for name in unique if name in MEASURES)


def find_embedders(names: Iterable[str]) -> tuple[Embedder, ...]:
    """The embedders of distances over a set among these names, once each; others are passed over.

    Args:
        names: Keys of `MEASURES` and `EMBEDDERS`.
    """
    return tuple(EMBEDDERS[name] for name in dict.fromkeys(names) if name in EMBEDDERS)
