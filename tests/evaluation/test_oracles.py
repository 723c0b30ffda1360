"""Floors and the oracle mask."""

import json
import math
from pathlib import Path

import pytest
import torch

from sepgan import data
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.metrics import framewise_sdr, global_sdr, si_sdr
from sepgan.evaluation.oracles import count_parts, floors, ideal_ratio_mask
from tests import synth

BASELINE_DB = 0.02  # another program's float32 STFT, and its numbers rounded to 0.001


def tensors(duration_s: float = 1.0) -> dict[str, torch.Tensor]:
    return {stem: torch.from_numpy(wave) for stem, wave in synth.song(duration_s).items()}


def test_silence_scores_zero_and_an_equal_share_beats_the_mixture() -> None:
    references = torch.stack(list(tensors().values()))
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


def test_oracle_estimates_sum_to_the_mixture_and_are_good() -> None:
    stems = tensors()
    references = {**stems, "accompaniment": stems["drums"] + stems["bass"] + stems["other"]}
    mixture = sum(stems.values(), torch.zeros(()))
    estimates = ideal_ratio_mask(references, mixture)
    assert list(estimates) == list(references)
    torch.testing.assert_close(sum(estimates[stem] for stem in stems), mixture, atol=1e-5, rtol=0)
    torch.testing.assert_close(estimates["accompaniment"] + estimates["vocals"], mixture, atol=1e-5, rtol=0)
    for stem in references:
        assert global_sdr(references[stem][None], estimates[stem][None]) > 8


def test_a_lone_stem_is_weighed_against_the_rest() -> None:
    stems = tensors()
    mixture = stems["vocals"] + stems["drums"]
    alone = ideal_ratio_mask({"vocals": stems["vocals"]}, mixture)["vocals"]
    both = ideal_ratio_mask({"vocals": stems["vocals"], "drums": stems["drums"]}, mixture)["vocals"]
    torch.testing.assert_close(alone, both, atol=1e-6, rtol=0)


def test_the_oracle_takes_signals_shorter_than_a_window() -> None:
    stems = {stem: wave[:, :100] for stem, wave in tensors().items()}
    assert ideal_ratio_mask(stems, sum(stems.values(), torch.zeros(())))["bass"].shape == (2, 100)


@pytest.mark.parametrize(
    ("kind", "folder", "group", "oracle"),
    [("folder", "stems", "stems_mdb", "irm4"), ("pairs", "pairs", "pairs_mir1k", "irm2")],
)
def test_floor_and_oracle_are_those_published_with_the_data(
    shared_data: Path, kind: str, folder: str, group: str, oracle: str
) -> None:
    baselines = json.loads((shared_data / "reference" / "baselines_valid.json").read_text())["tracks"][group]
    tracks = [track for track in data.DATASETS[kind](shared_data / folder, "valid") if track.name in baselines[oracle]]
    for track in tracks[:4]:
        waves, rate = data.load_stems(track)
        stems = {stem: torch.from_numpy(wave) for stem, wave in waves.items()}
        references = torch.stack(list(stems.values()))
        mixture = references.sum(0)
        estimates = {
            "mixture": floors(mixture, stems, 4)["mixture"],
            oracle: torch.stack(list(ideal_ratio_mask(stems, mixture).values())),
        }
        for system, estimate in estimates.items():
            expected = baselines[system][track.name]
            found = {
                "SDR": global_sdr(references, estimate),
                "SI-SDR": si_sdr(references, estimate),
                "cSDR": framewise_sdr(references, estimate, rate).nanquantile(0.5, dim=-1),
            }
            for metric, scores in found.items():
                for stem, score in zip(stems, scores.tolist(), strict=True):
                    assert score == pytest.approx(expected[stem][metric], abs=BASELINE_DB), (track.name, stem, metric)


def test_gap_closed_needs_an_oracle_above_the_floor() -> None:
    higher, lower = Metric("m", "M", "dB", False, "mean", "", ""), Metric("d", "D", "", False, "mean", "", "", False)
    assert higher.gap_closed(6.0, 0.0, 8.0) == 0.75
    assert lower.gap_closed(0.5, 2.0, 0.0) == 0.75
    assert math.isnan(higher.gap_closed(6.0, 100.0, 9.0))  # as doing nothing has the best SAR
    assert math.isnan(lower.gap_closed(6.0, 1.0, 9.0))
