"""Measures of a discriminator against closed forms and scikit-free references."""

import math

import numpy as np
import pytest

from sepgan.training.health.measures import auc, precision_recall, reliability, verdict


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 3.0])
def test_auc_of_two_normals_is_the_closed_form(shift: float) -> None:
    """`Phi(d / sqrt 2)` for unit normals `d` apart."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(shift, 1, 20000), rng.normal(0, 1, 20000)
    assert auc(real, fake) == pytest.approx(0.5 * (1 + math.erf(shift / 2)), abs=0.01)


def test_auc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(1)
    real, fake = rng.integers(0, 6, 40).astype(float), rng.integers(0, 5, 30).astype(float)
    pairs = (real[:, None] > fake[None]) + 0.5 * (real[:, None] == fake[None])
    assert auc(real, fake) == pytest.approx(pairs.mean(), abs=1e-12)


def test_a_perfect_and_a_blind_discriminator() -> None:
    perfect = verdict(np.array([0.9, 0.8, 1.2]), np.array([0.1, 0.2]), 0.5)
    assert (perfect.auc, perfect.f1, perfect.false_positive_rate) == (1.0, 1.0, 0.0)
    blind = verdict(np.full(4, 0.5), np.full(7, 0.5), 0.5)
    assert blind.auc == 0.5
    assert blind.calibration == pytest.approx(0.0, abs=1e-12), "to say one half is right where nothing can be told"
    always = verdict(np.ones(5), np.ones(5), 0.5)
    assert always.f1 == pytest.approx(2 / 3)
    assert always.false_positive_rate == 1.0
    assert always.calibration == pytest.approx(0.5)


def test_numbers_of_examples_do_not_tilt_f1() -> None:
    few, many = np.array([0.9, 0.4]), np.tile([0.9, 0.4], 50)
    fake = np.array([0.6, 0.1, 0.2, 0.3])
    assert tuple(verdict(few, fake, 0.5)) == pytest.approx(tuple(verdict(many, fake, 0.5)))


def test_calibration_of_log_odds() -> None:
    """Scores that are the true log odds are calibrated, and thrice as sure ones are not."""
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 2, 40000)
    truth = rng.random(40000) < 1 / (1 + np.exp(-scores))
    assert verdict(scores[truth], scores[~truth], 0.0).calibration < 0.02
    assert verdict(3 * scores[truth], 3 * scores[~truth], 0.0).calibration > 0.1
    assert reliability(scores[truth], scores[~truth], None) is None
    assert math.isnan(verdict(scores[truth], scores[~truth], None).calibration)


def test_precision_over_recall() -> None:
    curve = precision_recall(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    assert curve.recall.tolist() == [0.5, 1.0]
    assert curve.precision.tolist() == [1.0, pytest.approx(2 / 3)]


def test_nothing_to_judge_is_undefined() -> None:
    assert all(math.isnan(value) for value in verdict(np.zeros(0), np.ones(3), 0.5))
