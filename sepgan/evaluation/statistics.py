"""What chance allows us to say: intervals of scores, paired tests of systems, effect sizes, correction for many tests.

The unit is the track: frames of a track are no independent draws, so that they are summed up before anything is done
here. Systems are compared on the same tracks, pair by pair.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

LEVEL = 0.95  # of intervals
ALPHA = 0.05  # how often, at most, chance may call two equal systems different
RESAMPLES = 10_000
MINIMUM_TRACKS = 5  # below which a bootstrap interval is far too narrow to show
EXACT_PAIRS = 200  # up to which the test's distribution is computed, not approximated

Summary = Literal["median", "mean"]
Method = Literal["percentile", "bca"]
METHODS: tuple[Method, ...] = ("percentile", "bca")
Values = npt.NDArray[np.float64]


def summarize(scores: Values, over_tracks: Summary) -> Values:
    """Median or mean over the last axis.

    Args:
        scores: [..., track], without NaN.
        over_tracks: Which of the two.
    """
    function = np.median if over_tracks == "median" else np.mean
    return np.asarray(function(scores, axis=-1), np.float64)


def interval(
    scores: Values,
    over_tracks: Summary,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "percentile",
) -> tuple[float, float]:
    """Bootstrap interval, over tracks, of the median or mean of scores; (NaN, NaN) for a single track.

    It holds the true value a little less often than its level says where tracks are few: below `MINIMUM_TRACKS`,
    nobody should decide by it.

    Args:
        scores: [track], without NaN.
        over_tracks: What sums up tracks.
        level: Share of cases that the interval is to hold the true value in.
        resamples: How many sets of tracks to draw.
        seed: Of the draws.
        method: Quantiles of the draws, or those corrected for bias and skewness (BCa), which suit skewed scores better.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 14.

    >>> interval(np.arange(25.0), "median")
    (7.0, 17.0)
    """
    return _bootstrap((scores,), over_tracks, level, resamples, seed, method)


def difference_interval(
    first: Values,
    second: Values,
    over_tracks: Summary,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "percentile",
) -> tuple[float, float]:
    """The same for a difference: score of the first system less that of the second, where a track's two stay together.

    Args:
        first: Of one system, [track], without NaN.
        second: Of the other, on the same tracks.
        over_tracks: What sums up tracks.
        level: Share of cases that the interval is to hold the true value in.
        resamples: How many sets of tracks to draw.
        seed: Of the draws.
        method: As in `interval`.
    """
    return _bootstrap((first, second), over_tracks, level, resamples, seed, method)


def wilcoxon(differences: Values) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test: could differences of these sizes as well have other signs?

    Exact up to `EXACT_PAIRS` differences, also where some are equal in size; a normal approximation beyond. Zeros are
    left out, as Wilcoxon did; with nothing left, p is 1.

    Args:
        differences: Of two systems' scores, [track], without NaN.

    Source: Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945.

    >>> wilcoxon(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    0.03125
    """
    changed = differences[differences != 0]
    if not len(changed):
        return 1.0
    if len(changed) > EXACT_PAIRS:
        return float(stats.wilcoxon(changed, method="approx").pvalue)
    # Equal sizes share a mean rank, which may end in one half; twice the rank is whole.
    ranks = np.rint(2 * stats.rankdata(np.abs(changed))).astype(int)
    chances = np.zeros(ranks.sum() + 1)  # of every sum of the ranks of positive differences
    chances[0] = 1
    for rank in ranks:
        chances[rank:] += chances[:-rank].copy()
        chances /= 2
    positive = int(ranks[changed > 0].sum())
    tail = min(chances[: positive + 1].sum(), chances[positive:].sum())
    return min(1.0, 2 * float(tail))


def rank_biserial(differences: Values) -> float:
    """Effect size of paired scores from -1 to 1: share of ranks that favour the first system less that of the second.

    Args:
        differences: First less second, [track], without NaN; zeros count for nobody, and 0 is returned for zeros alone.

    Source: Kerby, "The simple difference formula", Comprehensive Psychology 3, 2014.

    >>> rank_biserial(np.array([1.0, 2.0, -3.0]))
    0.0
    """
    changed = differences[differences != 0]
    if not len(changed):
        return 0.0
    ranks = stats.rankdata(np.abs(changed))
    return float(np.sum(ranks * np.sign(changed)) / np.sum(ranks))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust p-values so that, where no difference is real, all tests together seldom find one.

    Args:
        p_values: Of the whole family of tests, in any order; NaN where nothing could be tested, which stays NaN and
            does not count.

    Returns:
        In the same order: to be compared with the level that the whole family is to keep.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda index: p_values[index])
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - position) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def tracks_needed(tests: int = 1, alpha: float = ALPHA) -> int:
    """How many tracks so many tests need before the most extreme scores there are could be told from chance.

    The smallest two-sided p-value of n pairs is 2 / 2^n, and Holm's correction multiplies the smallest of a family by
    its size.

    Args:
        tests: Size of the family.
        alpha: What the family is to keep.

    >>> tracks_needed(), tracks_needed(12)
    (6, 9)
    """
    return math.ceil(1 + math.log2(tests / alpha))


def mean_interval(differences: Values, *, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of a mean of paired differences; (NaN, NaN) for a single one.

    For few repetitions of an experiment, such as training runs by seed, whose resamples would be far too much alike.

    Args:
        differences: [pair], without NaN.
        level: Share of cases that the interval is to hold the true value in.

    >>> [round(end, 3) for end in mean_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.484, 4.484]
    """
    if len(differences) < 2:
        return math.nan, math.nan
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    reach = float(stats.t.ppf((1 + level) / 2, len(differences) - 1)) * error
    centre = float(np.mean(differences))
    return centre - reach, centre + reach


def smallest_detectable(spread: float, pairs: int, *, alpha: float = ALPHA, power: float = 0.8) -> float:
    """True mean difference that a two-sided paired t-test finds in a share `power` of all experiments of this size.

    Args:
        spread: Standard deviation of the paired differences.
        pairs: How many of them there are; one finds nothing, so that infinity is returned.
        alpha: Level of the test.
        power: Share of experiments.

    Source: Cohen, "Statistical power analysis for the behavioral sciences", 2nd edition, 1988, section 2.3; the power
    is that of the noncentral t distribution.

    >>> round(smallest_detectable(1.0, 5), 2)
    1.68
    """
    if pairs < 2:
        return math.inf
    freedom = pairs - 1
    limit = float(stats.t.ppf(1 - alpha / 2, freedom))

    def lacks(shift: float) -> float:
        """Power that is missing; the far tail adds nothing that counts."""
        return power - float(stats.nct.sf(limit, freedom, shift))

    return spread * float(optimize.brentq(lacks, 0.0, 10.0 * limit)) / math.sqrt(pairs)


def _bootstrap(
    scores: tuple[Values, ...], over_tracks: Summary, level: float, resamples: int, seed: int, method: Method
) -> tuple[float, float]:
    """Interval of the score of one system, or of a first less a second on the same tracks."""

    def statistic(*drawn: Values, axis: int = -1) -> Values:
        summed = [summarize(np.moveaxis(one, axis, -1), over_tracks) for one in drawn]
        return summed[0] if len(summed) == 1 else summed[0] - summed[1]

    tracks = len(scores[0])
    if tracks < 2:
        return math.nan, math.nan
    chosen = np.random.default_rng(seed).integers(tracks, size=(resamples, tracks))
    draws = statistic(*(one[chosen] for one in scores))
    quantiles = (1 - level) / 2, (1 + level) / 2
    if method == "bca":
        quantiles = _corrected(scores, statistic, draws, quantiles)
    low, high = np.quantile(draws, quantiles)
    return float(low), float(high)


def _corrected(
    scores: tuple[Values, ...], statistic: Callable[..., Values], draws: Values, quantiles: tuple[float, float]
) -> tuple[float, float]:
    """Which quantiles of the draws BCa takes; the plain ones where all draws or all tracks are equal."""
    tracks = len(scores[0])
    found = statistic(*scores)
    # Draws that equal the score count half, as scores of few tracks often do so.
    below = float(np.mean(draws < found) + np.mean(draws == found) / 2)
    keep = ~np.eye(tracks, dtype=bool)
    left_out = statistic(*(np.broadcast_to(one, (tracks, tracks))[keep].reshape(tracks, -1) for one in scores))
    deviations = left_out.mean() - left_out
    spread = float((deviations**2).sum() ** 1.5)
    if not 0 < below < 1 or spread == 0:
        return quantiles
    bias, acceleration = float(stats.norm.ppf(below)), float((deviations**3).sum()) / (6 * spread)
    low, high = (bias + float(stats.norm.ppf(quantile)) for quantile in quantiles)
    return (
        float(stats.norm.cdf(bias + low / (1 - acceleration * low))),
        float(stats.norm.cdf(bias + high / (1 - acceleration * high))),
    )
