"""Metrics against closed forms, against museval, and against the ways to cheat them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sepgan import audio
from sepgan.evaluation.metrics import (
    MAXIMUM_DB,
    MINIMUM_DB,
    SilenceRule,
    frame_starts,
    framewise_sdr,
    global_sdr,
    mean_squared_error,
    si_sdr,
)
from tests.evaluation.museval_reference import museval_v4

CLOSED_FORM_DB = 1e-6
MUSEVAL_DB = 1e-6  # float64 on both sides
RATE = 8000

Metric = Callable[[Tensor, Tensor], Tensor]


def framewise(references: Tensor, estimates: Tensor) -> Tensor:
    return framewise_sdr(references, estimates, RATE)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(error=st.floats(-0.9, 0.9).filter(lambda error: abs(error) > 1e-4))
def test_a_gain_error_has_a_known_sdr(error: float) -> None:
    references = noise(2, 2, RATE).double()
    estimates = (1 + error) * references
    expected = torch.full((2,), -20 * float(np.log10(abs(error))), dtype=torch.float64)
    torch.testing.assert_close(framewise(references, estimates)[:, 0], expected, atol=CLOSED_FORM_DB, rtol=0)
    torch.testing.assert_close(global_sdr(references, estimates), expected, atol=1e-3, rtol=0)  # its epsilon


@pytest.mark.parametrize("snr_db", [-12.0, 0.0, 30.0])
def test_orthogonal_noise_scores_its_snr(snr_db: float) -> None:
    time_s = torch.arange(RATE).double() / RATE
    references = torch.sin(2 * torch.pi * 440 * time_s)[None, None]
    estimates = references + 10 ** (-snr_db / 20) * torch.cos(2 * torch.pi * 440 * time_s)
    for metric in (framewise, global_sdr, si_sdr):
        torch.testing.assert_close(metric(references, estimates).flatten()[0].item(), snr_db, atol=1e-4, rtol=0)


def test_si_sdr_ignores_scale_and_offset_but_not_the_balance_of_channels() -> None:
    references, estimates = noise(3, 2, RATE).double(), noise(3, 2, RATE, seed=1).double()
    estimates = references + 0.1 * estimates
    plain = si_sdr(references, estimates)
    torch.testing.assert_close(si_sdr(references, -7 * estimates + 0.3), plain, atol=CLOSED_FORM_DB, rtol=0)
    unbalanced = estimates * torch.tensor([1.0, 0.5])[:, None]
    assert (si_sdr(references, unbalanced) < plain - 5).all()


@pytest.mark.parametrize("metric", [framewise, global_sdr, si_sdr])
def test_each_source_and_item_is_scored_alone(metric: Metric) -> None:
    references, estimates = noise(3, 2, 2, RATE), noise(3, 2, 2, RATE, seed=1)
    together = metric(references, estimates)
    for item in range(3):
        for source in range(2):
            alone = metric(references[item, source][None], estimates[item, source][None])[0]
            torch.testing.assert_close(together[item, source], alone)


@pytest.mark.parametrize("metric", [framewise, global_sdr, si_sdr])
def test_float32_input_is_computed_in_float64_and_not_changed(metric: Metric) -> None:
    references = noise(1, 2, 3 * RATE + 5)
    estimates = references + 1e-4 * noise(1, 2, 3 * RATE + 5, seed=1)
    copies = references.clone(), estimates.clone()
    scores = metric(references, estimates)
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores, metric(references.double(), estimates.double()), atol=1e-9, rtol=0)
    torch.testing.assert_close((references, estimates), copies, atol=0, rtol=0)


@pytest.mark.parametrize("metric", [framewise, global_sdr, si_sdr])
def test_a_silent_reference_is_nan_and_others_are_not_touched(metric: Metric) -> None:
    references, estimates = noise(2, 1, RATE), noise(2, 1, RATE, seed=1)
    references[0] = 0
    scores = metric(references, estimates).flatten()
    assert scores[0].isnan()
    assert scores[1].isfinite()


def test_a_silent_estimate_scores_zero_and_is_not_left_out() -> None:
    references = noise(1, 2, 2 * RATE)
    silent = torch.zeros_like(references)
    assert framewise(references, silent).tolist() == [[0.0, 0.0]]
    assert global_sdr(references, silent).tolist() == [0.0]
    assert si_sdr(references, silent).tolist() == [MINIMUM_DB]


@pytest.mark.parametrize("metric", [framewise, global_sdr, si_sdr])
def test_a_perfect_estimate_scores_the_maximum(metric: Metric) -> None:
    references = 100 * noise(1, 2, RATE)  # loud enough for the epsilon of the global SDR
    assert metric(references, references).flatten().tolist() == [MAXIMUM_DB]


def test_the_squared_error_is_that_of_the_definition_and_defined_for_silence() -> None:
    references, estimates = noise(2, 2, RATE), noise(2, 2, RATE, seed=1)
    references[1] = 0
    expected = [float(np.mean((r - e) ** 2)) for r, e in zip(references.numpy(), estimates.numpy(), strict=True)]
    assert mean_squared_error(references, estimates).tolist() == pytest.approx(expected, rel=1e-5)
    assert mean_squared_error(references, references).tolist() == [0, 0]


@pytest.mark.parametrize("metric", [framewise, global_sdr, si_sdr, mean_squared_error])
def test_nan_stays_nan(metric: Metric) -> None:
    references, estimates = noise(1, 1, RATE), noise(1, 1, RATE, seed=1)
    estimates[..., 7] = torch.nan
    assert metric(references, estimates).isnan().all()


@pytest.mark.parametrize("metric", [framewise, global_sdr, si_sdr])
def test_other_shapes_are_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 10\), estimates \(1, 2, 10\)"):
        metric(torch.ones(1, 1, 10), torch.ones(1, 2, 10))
    with pytest.raises(ValueError, match="T > 0"):
        metric(torch.ones(1, 1, 0), torch.ones(1, 1, 0))


@pytest.mark.parametrize(("samples", "frames"), [(3, 1), (10, 1), (11, 1), (19, 1), (20, 2), (105, 10)])
def test_frames_are_counted_as_museval_does(samples: int, frames: int) -> None:
    assert len(frame_starts(samples, 10, 10)) == frames
    assert framewise_sdr(torch.ones(1, 1, samples), torch.ones(1, 1, samples), 10).shape == (1, frames)


@pytest.mark.parametrize(("window", "hop"), [(RATE, RATE), (2 * RATE, RATE // 2)])
def test_framewise_sdr_is_the_sdr_of_museval(window: int, hop: int) -> None:
    references, estimates = noise(2, 2, 4 * RATE + 17).double(), noise(2, 2, 4 * RATE + 17, seed=1).double()
    estimates += 2 * references
    references[0, :, : RATE // 2] = 0  # part of a frame
    estimates[1, :, RATE : 2 * RATE] = 0  # a whole frame
    references[1, 0, 2 * RATE : 3 * RATE] = -references[1, 1, 2 * RATE : 3 * RATE]  # museval takes this for silence
    expected = museval_v4(references, estimates, window, hop, filters_len=8)["sdr"]  # the length cancels
    found = framewise_sdr(references, estimates, window, hop, silence=SilenceRule.MUSEVAL)
    torch.testing.assert_close(found, expected, atol=MUSEVAL_DB, rtol=0, equal_nan=True)
    assert expected.isnan().any() == (window == RATE)
    ours = framewise_sdr(references, estimates, window, hop)
    defined = ~expected.isnan()
    torch.testing.assert_close(ours[defined], expected[defined], atol=MUSEVAL_DB, rtol=0)


def test_framewise_sdr_is_the_sdr_of_museval_on_real_music(shared_data: Path) -> None:
    streams, sample_rate = audio.read_streams(
        next((shared_data / "fixtures" / "musdb18" / "train").glob("*80s Rock.stem.mp4"))
    )
    references = torch.from_numpy(np.stack(streams[1:]))[..., : 3 * sample_rate + 100]
    mixture = torch.from_numpy(streams[0])[..., : references.shape[-1]]
    estimates = 0.8 * references + 0.05 * mixture
    expected = museval_v4(references, estimates, sample_rate, sample_rate, filters_len=8)["sdr"]  # it cancels
    found = framewise_sdr(references, estimates, sample_rate, silence=SilenceRule.MUSEVAL)
    torch.testing.assert_close(found, expected, atol=MUSEVAL_DB, rtol=0, equal_nan=True)
    assert expected.isfinite().sum() >= 8
