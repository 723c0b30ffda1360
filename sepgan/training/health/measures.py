"""What a discriminator's scores on held-out real and generated examples say about it. Scores are arrays of numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

BINS = 10  # of the calibration


class Verdict(NamedTuple):
    """A discriminator, measured; generated examples are the negatives."""

    auc: float  # area under the receiver operating characteristic
    f1: float
    false_positive_rate: float  # share of generated examples judged real
    true_positive_rate: float  # share of real examples judged real
    calibration: float  # expected calibration error; NaN where scores are no probabilities


class Curve(NamedTuple):
    """Precision over recall, from the strictest threshold to the most lenient."""

    recall: Values
    precision: Values


def verdict(real: Values, fake: Values, boundary: float | None) -> Verdict:
    """Measure a discriminator.

    Args:
        real: Its scores of real examples.
        fake: And of generated ones; higher means more real.
        boundary: Scores above it are judged real; None: above the middle between the two mean scores.

    >>> verdict(np.array([0.9, 0.8]), np.array([0.1, 0.6]), 0.5).false_positive_rate
    0.5
    """
    if not len(real) or not len(fake):
        return Verdict(*(math.nan,) * 5)
    limit = 0.5 * (real.mean() + fake.mean()) if boundary is None else boundary
    right, wrong = float((real > limit).mean()), float((fake > limit).mean())
    # Sides of different sizes count alike, so that F1 does not depend on how many of each were looked at.
    f1 = 2 * right / (2 * right + wrong + (1 - right)) if right else 0.0
    return Verdict(auc(real, fake), f1, wrong, right, calibration(real, fake, boundary))


def auc(real: Values, fake: Values) -> float:
    """Probability that a real example scores above a generated one, ties counting half (Mann and Whitney, 1947).

    >>> auc(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    0.875
    """
    ordered = np.sort(fake)
    below = np.searchsorted(ordered, real, side="left")
    level = np.searchsorted(ordered, real, side="right") - below
    return float((below + 0.5 * level).mean() / len(fake))


def precision_recall(real: Values, fake: Values) -> Curve:
    """Precision over recall at every score of a real example, both sides counting alike."""
    limits = np.unique(real)[::-1]
    recall = np.array([(real >= limit).mean() for limit in limits])
    wrong = np.array([(fake >= limit).mean() for limit in limits])
    return Curve(recall, recall / (recall + wrong))


def calibration(real: Values, fake: Values, boundary: float | None) -> float:
    """Expected calibration error in ten bins (Guo et al., ICML 2017), both sides counting alike.

    Scores around 0 are taken as log odds and those around 0.5 as probabilities, which is what losses with these
    boundaries teach; a critic's distances are neither.
    """
    bins = reliability(real, fake, boundary)
    return math.nan if bins is None else float(np.nansum(bins[2] * np.abs(bins[0] - bins[1])))


def reliability(real: Values, fake: Values, boundary: float | None) -> tuple[Values, Values, Values] | None:
    """Mean stated probability, observed share of real examples, and weight of each bin; None for a critic."""
    if boundary not in (0.0, 0.5) or not len(real) or not len(fake):
        return None
    scores = np.concatenate([real, fake])
    stated = np.clip(scores, 0.0, 1.0) if boundary == 0.5 else 0.5 * (1 + np.tanh(scores / 2))
    truth = np.concatenate([np.ones(len(real)), np.zeros(len(fake))])
    weights = np.concatenate([np.full(len(real), 0.5 / len(real)), np.full(len(fake), 0.5 / len(fake))])
    bin_of = np.minimum((stated * BINS).astype(int), BINS - 1)
    total: Values = np.bincount(bin_of, weights, BINS).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, weights * stated, BINS) / total
        share = np.bincount(bin_of, weights * truth, BINS) / total
    return mean, share, total
