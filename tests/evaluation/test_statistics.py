"""Intervals, tests and corrections: equal to scipy where scipy is exact, and calibrated where nothing is there."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sepgan.evaluation import statistics

TRIALS = 20_000  # so many that the rate is known to 0.15 %
TRACKS = 40
FAMILY = 4  # tests, such as one for each stem


def null_differences(trials: int, tests: int, *, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Differences [trial, test, track] of systems that differ by chance alone; stems of a track are correlated."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal((trials, 1, TRACKS))
    own = random.standard_normal((trials, tests, TRACKS))
    return np.asarray(0.5 * shared + own, np.float64)


@pytest.mark.parametrize("tracks", [2, 5, 6, 13, 50])
def test_wilcoxon_equals_scipys_exact_test(tracks: int) -> None:
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.3, 1, tracks)
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert statistics.wilcoxon(differences) == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_is_exact_with_equal_sizes_too() -> None:
    """Against all 2^8 signs, spelled out."""
    differences = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -0.5, 3.0])
    ranks = stats.rankdata(np.abs(differences))
    signs = (np.arange(256)[:, None] >> np.arange(8)) & 1
    sums = signs @ ranks
    seen = ranks[differences > 0].sum()
    expected = 2 * min((sums <= seen).mean(), (sums >= seen).mean())
    assert statistics.wilcoxon(differences) == pytest.approx(expected)
    assert statistics.wilcoxon(np.append(differences, [0.0, 0.0])) == pytest.approx(expected)
    assert statistics.wilcoxon(np.zeros(9)) == 1


def test_many_tracks_need_no_exact_distribution() -> None:
    random = np.random.default_rng(3)
    many = random.normal(0.15, 1, statistics.EXACT_PAIRS + 1)
    exact = stats.wilcoxon(many, method="exact").pvalue
    assert 0.001 < exact < 0.5
    assert statistics.wilcoxon(many) == pytest.approx(exact, rel=0.05)


def test_few_tracks_cannot_reach_five_percent() -> None:
    smallest = {tracks: statistics.wilcoxon(np.arange(1, tracks + 1, dtype=np.float64)) for tracks in range(1, 8)}
    assert smallest[5] == pytest.approx(2 / 32)
    assert min(tracks for tracks, p in smallest.items() if p < 0.05) == statistics.tracks_needed() == 6
    assert statistics.tracks_needed(12) == min(n for n in range(1, 99) if 12 * 2 / 2**n <= 0.05)


def test_the_effect_tells_direction_and_size() -> None:
    assert statistics.rank_biserial(np.array([0.1, 0.2, 5.0])) == 1
    assert statistics.rank_biserial(-np.array([0.1, 0.2, 5.0])) == -1
    assert statistics.rank_biserial(np.array([1.0, -2.0, 3.0, 4.0])) == pytest.approx((8 - 2) / 10)
    assert statistics.rank_biserial(np.zeros(3)) == 0


def test_holm_is_that_of_the_paper() -> None:
    assert statistics.holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx((0.03, 0.04, 0.04, 0.02))
    assert statistics.holm([0.9, 0.6]) == (1.0, 1.0)
    skipped = statistics.holm([0.03, math.nan, 0.01])
    assert (skipped[0], skipped[2]) == pytest.approx((0.03, 0.02))
    assert math.isnan(skipped[1])
    assert statistics.holm([]) == ()


def p_values_of(
    differences: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The test of [..., track], where sizes differ: one p-value for each sum of positive ranks is looked up."""
    ranks = np.arange(1, TRACKS + 1)
    by_sum = []
    for wanted in range(ranks.sum() + 1):
        signed = -ranks.astype(float)
        for rank in ranks[::-1]:
            if rank <= wanted:
                signed[rank - 1], wanted = rank, wanted - rank
        by_sum.append(statistics.wilcoxon(signed))
    order = np.abs(differences).argsort(-1).argsort(-1) + 1
    return np.asarray(np.array(by_sum)[(order * (differences > 0)).sum(-1)], np.float64)


def test_chance_alone_is_found_as_often_as_promised() -> None:
    """Systems that do not differ: 5 % of single tests say otherwise, and of whole families at most 5 %."""
    differences = null_differences(TRIALS, FAMILY, seed=0)
    p_values = p_values_of(differences)
    assert p_values[7, 2] == statistics.wilcoxon(differences[7, 2])
    single = (p_values <= statistics.ALPHA).mean(0)
    assert ((single >= 0.04) & (single <= 0.06)).all()
    found_any = (p_values.min(-1) <= statistics.ALPHA).mean()
    family = np.mean([min(statistics.holm(list(row))) <= statistics.ALPHA for row in p_values])
    assert family <= 0.05
    assert found_any > 0.12  # what the correction is for


@pytest.mark.parametrize("over_tracks", ["mean", "median"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(over_tracks: statistics.Summary) -> None:
    """Percentile intervals of 40 skewed scores: a few per cent short of 95 % at most, as documented."""
    random = np.random.default_rng(1)
    truth = math.exp(0.125) if over_tracks == "mean" else 1.0
    held = 0
    for seed in range(400):
        low, high = statistics.interval(random.lognormal(0, 0.5, TRACKS), over_tracks, resamples=300, seed=seed)
        held += low <= truth <= high
    assert 0.9 <= held / 400 <= 0.98


@pytest.mark.parametrize("over_tracks", ["mean", "median"])
def test_bca_is_that_of_scipy(over_tracks: statistics.Summary) -> None:
    """Of skewed scores, and of a difference of pairs; scipy draws other tracks, hence the tolerance."""
    random = np.random.default_rng(4)
    ours, theirs = random.lognormal(0, 0.8, 30), random.lognormal(0.2, 0.5, 30)
    function: Any = {"mean": np.mean, "median": np.median}[over_tracks]

    def difference(one: Any, other: Any, axis: int = -1) -> Any:
        return function(one, axis=axis) - function(other, axis=axis)

    settings: dict[str, Any] = {"method": "BCa", "n_resamples": 10_000, "vectorized": True, "random_state": 0}
    alone = stats.bootstrap((ours,), function, **settings).confidence_interval
    pair = stats.bootstrap((ours, theirs), difference, paired=True, **settings).confidence_interval
    found = statistics.interval(ours, over_tracks, resamples=10_000, method="bca")
    assert found == pytest.approx((alone.low, alone.high), abs=0.06)
    if over_tracks == "mean":  # ends of the median's lie on scores, and move in steps
        assert found != statistics.interval(ours, over_tracks, resamples=10_000)
    found = statistics.difference_interval(ours, theirs, over_tracks, resamples=10_000, method="bca")
    assert found == pytest.approx((pair.low, pair.high), abs=0.06)


def test_bca_holds_the_mean_of_skewed_scores_more_often() -> None:
    """15 skewed scores: quantiles fall short of 95 %, corrected ones less so."""
    random, truth = np.random.default_rng(6), math.exp(0.5)
    held = {"percentile": 0, "bca": 0}
    for seed in range(300):
        scores = random.lognormal(0, 1, 15)
        for method in ("percentile", "bca"):
            low, high = statistics.interval(scores, "mean", resamples=400, seed=seed, method=method)
            held[method] += low <= truth <= high
    assert held["percentile"] < held["bca"] < 0.95 * 300


def test_bca_of_equal_scores_is_that_score() -> None:
    assert statistics.interval(np.full(8, 3.0), "mean", method="bca") == (3.0, 3.0)


def test_paired_intervals_are_narrower_than_the_spread_of_tracks() -> None:
    """Tracks differ by many dB, systems by little: only pairs show it."""
    random = np.random.default_rng(2)
    hard = random.normal(5, 4, 50)
    ours, theirs = hard + 0.3 + random.normal(0, 0.1, 50), hard
    low, high = statistics.difference_interval(ours, theirs, "mean")
    assert 0.2 < low < 0.3 < high < 0.4
    assert np.subtract(*statistics.interval(ours, "mean")[::-1]) > 1
    back = statistics.difference_interval(theirs, ours, "mean")
    assert back == pytest.approx((-high, -low))
    assert statistics.difference_interval(ours, theirs, "mean") == (low, high)  # seeded


def test_a_single_track_has_no_interval() -> None:
    assert np.isnan(statistics.interval(np.ones(1), "mean")).all()
    assert np.isnan(statistics.difference_interval(np.ones(1), np.zeros(1), "median")).all()
