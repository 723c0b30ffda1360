"""The excerpts kept are those that score worst and best, and nothing else is held."""

import math

import numpy as np
import pytest
import torch

from sepgan.evaluation.excerpts import ExcerptKeeper
from sepgan.evaluation.material import Material
from sepgan.evaluation.metrics import global_sdr

RATE = 1000  # Hz
SCORE_DB = 1e-4


def material(gains: dict[str, list[float]], *, seconds: float = 30.0, silent: tuple[float, float] = (0, 0)) -> Material:
    """Noise as the only stem, estimated with an error that is a factor per ten seconds."""
    true = torch.from_numpy(
        0.1 * np.random.default_rng(0).standard_normal((2, round(seconds * RATE))).astype(np.float32)
    )
    true[:, round(silent[0] * RATE) : round(silent[1] * RATE)] *= 1e-3
    estimates = {}
    for system, errors in gains.items():
        factor = torch.tensor(errors).repeat_interleave(10 * RATE)[: true.shape[-1]]
        estimates[system] = {"vocals": true * (1 + factor)}
    return Material(RATE, {"vocals": true, "bass": true}, 2 * true, estimates)


def test_worst_and_best_are_found_and_scored_like_the_metric() -> None:
    keeper = ExcerptKeeper()
    given = material({"ours": [0.1, 0.5, 0.01], "theirs": [0.1, 0.02, 0.5]})
    keeper.offer("song", given)
    found = {pick: excerpt for excerpt in keeper.kept() for pick in excerpt.picks}
    assert 10 <= found["worst", "ours"].start_s <= 14
    assert found["best", "ours"].start_s >= 20
    assert 10 <= found["best", "theirs"].start_s <= 14
    assert found["worst", "theirs"].usdr_db["theirs"] == pytest.approx(-20 * math.log10(0.5), abs=0.01)
    excerpt = found["worst", "ours"]
    assert (excerpt.stem, excerpt.track, excerpt.duration_s) == ("vocals", "song", 6.0)
    start = round(excerpt.start_s * RATE)
    np.testing.assert_array_equal(excerpt.mixture, given.mixture[:, start : start + 6 * RATE].numpy())
    score = global_sdr(torch.from_numpy(excerpt.reference)[None], torch.from_numpy(excerpt.estimates["ours"])[None])
    assert excerpt.usdr_db["ours"] == pytest.approx(float(score), abs=SCORE_DB)


def test_a_later_track_replaces_only_what_it_beats() -> None:
    keeper = ExcerptKeeper()
    keeper.offer("middling", material({"ours": [0.1, 0.1, 0.1]}))
    keeper.offer("worse", material({"ours": [0.1, 0.9, 0.1]}))
    found = {pick: excerpt.track for excerpt in keeper.kept() for pick in excerpt.picks}
    assert found == {("worst", "ours"): "worse", ("best", "ours"): "middling"}
    assert len(keeper.kept()) == 2


def test_silence_is_not_what_a_system_did_worst() -> None:
    """Where a stem pauses, its faint leakage scores terribly and there is nothing to hear."""
    keeper = ExcerptKeeper()
    keeper.offer("song", material({"ours": [0.9, 0.3, 0.1]}, silent=(0, 10)))
    found = {pick: excerpt for excerpt in keeper.kept() for pick in excerpt.picks}
    assert found["worst", "ours"].start_s >= 5


def test_silent_stems_and_missing_estimates_are_passed_over() -> None:
    keeper = ExcerptKeeper()
    keeper.offer("song", material({"ours": [0.1, 0.1, 0.1]}, silent=(0, 30)))
    keeper.offer("song", material({}))
    assert keeper.kept() == ()


def test_a_short_track_is_one_excerpt_for_both_ends() -> None:
    keeper = ExcerptKeeper()
    keeper.offer("song", material({"ours": [0.1]}, seconds=0.4))
    (excerpt,) = keeper.kept()
    assert excerpt.picks == (("worst", "ours"), ("best", "ours"))
    assert excerpt.duration_s == pytest.approx(0.4)


def test_more_than_one_of_each_come_from_different_tracks() -> None:
    keeper = ExcerptKeeper(count=2)
    for name, error in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        keeper.offer(name, material({"ours": [error]}, seconds=8.0))
    picks = {(end, excerpt.track) for excerpt in keeper.kept() for end, _ in excerpt.picks}
    assert picks == {("worst", "c"), ("worst", "b"), ("best", "a"), ("best", "b")}
