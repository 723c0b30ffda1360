"""Compare the systems of an evaluation with each other: every pair, stem and metric, on the tracks both were scored on.

All tests of an evaluation are one family: where no system differs from another, the chance that the report calls any
two of them different stays under 5 %.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sepgan.errors import UsageError
from sepgan.evaluation import statistics
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.scores import Scores
from sepgan.evaluation.statistics import ALPHA, LEVEL, MINIMUM_TRACKS, Method, Values

NOT_DISTINGUISHABLE = "not distinguishable"
TOO_FEW_TRACKS = "too few tracks"

Intervals = Mapping[tuple[str, str, str], tuple[float, float]]
"""(system, stem, metric) -> lower and upper end of the interval of the score over the set."""


@dataclass(frozen=True)
class Comparison:
    """Two systems on one stem by one metric."""

    first: str
    second: str
    stem: str
    metric: str
    tracks: int  # with a defined score of both
    difference: float  # of the scores over these tracks, first less second
    low: float  # of its bootstrap interval; NaN below MINIMUM_TRACKS
    high: float
    typical: float  # median over tracks of the tracks' differences: what the test is about
    effect: float  # matched-pairs rank-biserial correlation, positive where the first has the higher values
    p_value: float  # of the paired Wilcoxon signed-rank test, two-sided; NaN without tracks
    p_adjusted: float  # by Holm's method over all comparisons of the evaluation
    verdict: str  # "NAME is better", NOT_DISTINGUISHABLE or TOO_FEW_TRACKS


def judged(scores: Scores) -> list[str]:
    """Names of the systems that are neither floors nor oracles."""
    return [system.name for system in scores.systems if system.kind in ("model", "estimates")]


def intervals(
    scores: Scores, *, level: float = LEVEL, method: Method = "percentile"
) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Bootstrap intervals of the scores over the set, where there are `MINIMUM_TRACKS` tracks or more.

    Args:
        scores: Of any number of systems.
        level: Of the intervals.
        method: Of the bootstrap.
    """
    found = {}
    for system, stem, metric in itertools.product(judged(scores), scores.stems, scores.metrics):
        values = np.array([scores.of_track(track, system, stem, metric) for track in scores.tracks], np.float64)
        defined = values[~np.isnan(values)]
        if len(defined) >= MINIMUM_TRACKS:
            found[system, stem, metric.name] = statistics.interval(
                defined, metric.over_tracks, level=level, method=method
            )
    return found


def compare(scores: Scores, *, anchor: str | None = None, method: Method = "percentile") -> tuple[Comparison, ...]:
    """Compare every pair of systems, or every system with one.

    Args:
        scores: Of two systems or more; of fewer, there is nothing to compare.
        anchor: Compare the others with this one alone; fewer tests find more.
        method: Of the bootstrap of differences.

    Raises:
        UsageError: The anchor was not scored.
    """
    names = judged(scores)
    if anchor is not None and anchor not in names:
        raise UsageError(f"system {anchor!r} was not scored; choose from {', '.join(names)}")
    pairs = itertools.combinations(names, 2) if anchor is None else ((name, anchor) for name in names if name != anchor)
    found = [
        _compare(scores, first, second, stem, metric, method)
        for (first, second), metric, stem in itertools.product(list(pairs), scores.metrics, scores.stems)
    ]
    found = [one for one in found if one.tracks]
    adjusted = statistics.holm([one.p_value for one in found])
    better = {metric.name: metric.higher_is_better for metric in scores.metrics}
    return tuple(_judge(one, p, better[one.metric]) for one, p in zip(found, adjusted, strict=True))


def _compare(scores: Scores, first: str, second: str, stem: str, metric: Metric, method: Method) -> Comparison:
    values = [[scores.of_track(track, name, stem, metric) for name in (first, second)] for track in scores.tracks]
    pairs = np.array(values, np.float64).reshape(-1, 2)
    ours, theirs = pairs[~np.isnan(pairs).any(-1)].T
    low = high = difference = typical = p_value = effect = math.nan
    if len(ours):
        difference, typical = _difference(ours, theirs, metric), float(np.median(ours - theirs))
        p_value, effect = statistics.wilcoxon(ours - theirs), statistics.rank_biserial(ours - theirs)
    if len(ours) >= MINIMUM_TRACKS:
        low, high = statistics.difference_interval(ours, theirs, metric.over_tracks, method=method)
    return Comparison(
        first, second, stem, metric.name, len(ours), difference, low, high, typical, effect, p_value, math.nan, ""
    )


def _difference(first: Values, second: Values, metric: Metric) -> float:
    return float(statistics.summarize(first, metric.over_tracks) - statistics.summarize(second, metric.over_tracks))


def _judge(comparison: Comparison, p_adjusted: float, higher_is_better: bool) -> Comparison:
    verdict = NOT_DISTINGUISHABLE
    if comparison.tracks < statistics.tracks_needed():
        verdict = TOO_FEW_TRACKS
    elif p_adjusted <= ALPHA:
        # The test's own direction, by ranks: medians of the set may say otherwise.
        verdict = f"{comparison.first if (comparison.effect > 0) == higher_is_better else comparison.second} is better"
    return replace(comparison, p_adjusted=p_adjusted, verdict=verdict)


def note(comparisons: tuple[Comparison, ...]) -> str:
    """What a reader must know before the comparisons: the family of tests, and whether there are tracks enough."""
    tests = len(comparisons)
    text = (
        "Differences are first less second, over the tracks that both were scored on, with a 95 % bootstrap interval "
        "over tracks; p is of a paired two-sided Wilcoxon signed-rank test over tracks, adjusted by Holm's method over "
        f"{'this one test' if tests == 1 else f'all {tests} tests of this report'}; the effect is the matched-pairs "
        "rank-biserial correlation (1: the first has the higher value on every track). The test sees the differences "
        "track by track, whose median it is about: it may find a small one that nearly every track shows, where the "
        "scores of the set hardly differ. 'Not distinguishable' means that chance explains the difference well enough, "
        "not that the systems are equal."
    )
    most, needed = max(one.tracks for one in comparisons), statistics.tracks_needed(tests)
    if most < needed:
        text += (
            f" With {most} track{'' if most == 1 else 's'}, no scores whatever could be told from chance in "
            f"{'one test' if tests == 1 else f'{tests} tests'}: that takes {needed} tracks."
        )
    return text
