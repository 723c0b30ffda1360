"""Spectral distances and leakage against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from sepgan.evaluation.metrics import MINIMUM_DB
from sepgan.evaluation.spectral import RESOLUTIONS, log_spectral_distance, multi_resolution_stft, silence_leakage

RATE = 4000
GAIN_DB = 1e-6


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.7])
def test_a_gain_has_a_known_distance(gain: float) -> None:
    references = noise(2, 2, RATE)
    expected = abs(1 - gain) + abs(math.log(gain))
    torch.testing.assert_close(
        multi_resolution_stft(references, gain * references), torch.full((2,), expected).double()
    )
    level = abs(20 * math.log10(gain))
    found = log_spectral_distance(references, gain * references)
    torch.testing.assert_close(
        found, torch.full((2,), level).double(), atol=0.01, rtol=0
    )  # some bins lie under the floor


def test_the_distance_is_that_of_torch_stft() -> None:
    references, estimates = noise(1, 1, RATE + 77), noise(1, 1, RATE + 77, seed=1)
    expected = []
    for n_fft, hop, width in RESOLUTIONS:
        window = torch.hann_window(width, dtype=torch.float64)
        true, estimate = (
            torch.stft(signal[0], n_fft, hop, width, window, pad_mode="constant", return_complex=True)
            .abs()
            .clamp(min=1e-4)
            for signal in (references, estimates)
        )
        expected.append((true - estimate).norm() / true.norm() + (true.log() - estimate.log()).abs().mean())
    torch.testing.assert_close(multi_resolution_stft(references, estimates)[0], torch.stack(expected).mean())


@pytest.mark.parametrize("metric", [multi_resolution_stft, log_spectral_distance])
def test_distances_do_not_depend_on_the_block(metric: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(metric)
    references, estimates = noise(2, 1, RATE), noise(2, 1, RATE, seed=1)
    whole = metric(references, estimates)
    monkeypatch.setattr("sepgan.evaluation.spectral._BLOCK_SAMPLES", 200000)
    torch.testing.assert_close(metric(references, estimates), whole)
    assert metric(references, references).tolist() == [0, 0]
    references[0] = 0
    assert metric(references, estimates).isnan().tolist() == [True, False]


def test_a_turned_polarity_is_not_heard() -> None:
    """An energy ratio calls it wrong by 6 dB."""
    references = noise(1, 1, RATE)
    for metric in (multi_resolution_stft, log_spectral_distance):
        assert metric(references, -references).tolist() == [0]


@pytest.mark.parametrize(("gain", "expected_db"), [(1.0, 0.0), (0.1, -20.0), (0.0, MINIMUM_DB)])
def test_leakage_is_the_mixture_that_is_left_in_a_pause(gain: float, expected_db: float) -> None:
    references = noise(2, 2, 4 * RATE)
    references[0, :, RATE : 2 * RATE] = 1e-4  # -80 dBFS
    mixture = references.sum(0)
    estimates = references.clone()
    estimates[0, :, RATE : 2 * RATE] = gain * mixture[:, RATE : 2 * RATE]
    leakage = silence_leakage(references, estimates, mixture, RATE)
    torch.testing.assert_close(leakage[0].item(), expected_db, atol=1e-3, rtol=0)
    assert leakage[1].isnan()  # it never pauses


def test_a_short_rest_is_no_pause() -> None:
    references = noise(1, 1, 2 * RATE)
    references[..., : RATE // 3] = 0
    assert silence_leakage(references, references, noise(1, 2 * RATE), RATE).isnan().all()
    assert silence_leakage(torch.zeros(1, 1, 40), torch.ones(1, 1, 40), torch.ones(1, 40), RATE).tolist() == [0]
