"""The floors, and how the gap to an oracle is told."""

import math

import pytest
import torch

from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.floors import count_parts, floors
from sepgan.evaluation.metrics import global_sdr
from tests import synth


def test_silence_scores_zero_and_an_equal_share_beats_the_mixture() -> None:
    references = torch.stack([torch.from_numpy(wave) for wave in synth.song(1.0).values()])
    estimates = floors(references.sum(0), synth.STEMS, 4)
    assert list(estimates) == ["mixture", "mixture/4", "silence"]
    scores = {name: global_sdr(references, estimate) for name, estimate in estimates.items()}
    assert scores["silence"].tolist() == [0, 0, 0, 0]
    assert (scores["mixture/4"] > scores["mixture"] + 1).all()


def test_the_share_of_the_accompaniment_is_that_of_all_other_parts() -> None:
    shares = floors(torch.ones(1, 1), ["vocals", "accompaniment"], 4)["mixture/4"]
    assert shares.flatten().tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("stems", "parts"),
    [(["vocals", "accompaniment"], 2), (synth.STEMS, 4), ([*synth.STEMS, "accompaniment"], 4), (["vocals"], 1)],
)
def test_parts_are_counted_once(stems: list[str], parts: int) -> None:
    assert count_parts(stems) == parts


def test_gap_closed_needs_an_oracle_above_the_floor() -> None:
    higher, lower = Metric("m", "M", "dB", False, "mean", "", ""), Metric("d", "D", "", False, "mean", "", "", False)
    assert higher.gap_closed(6.0, 0.0, 8.0) == 0.75
    assert lower.gap_closed(0.5, 2.0, 0.0) == 0.75
    assert math.isnan(higher.gap_closed(6.0, 100.0, 9.0))  # as doing nothing has the best SAR
    assert math.isnan(lower.gap_closed(6.0, 1.0, 9.0))
