"""Frames of any number of channels, the exact way back, and what channels have in common."""

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sepgan.features import Framing
from sepgan.features.framing import coherence, covariance
from sepgan.frontend import Stft
from sepgan.recipe import FramingRecipe
from tests import synth

EXACT_DB = -120.0  # what the reassembly promises


def _error_db(original: Tensor, back: Tensor) -> float:
    return float(10 * torch.log10((original - back).double().square().sum() / original.double().square().sum()))


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("window", ["periodic", "symmetric"])
def test_joining_gives_the_waveform_back(channels: int, window: str) -> None:
    framing = Framing(FramingRecipe.model_validate({"window": window}))
    waveform = torch.from_numpy(synth.noise(0.5, channels=channels))
    assert framing(waveform).shape == (channels, framing.count(22050), 2048)
    assert _error_db(waveform, framing.join(framing(waveform), 22050)) <= EXACT_DB
    spectra = framing.spectra(waveform)
    assert spectra.shape == (channels, framing.count(22050), 1025)
    assert _error_db(waveform, framing.join_spectra(spectra, 22050)) <= EXACT_DB


@given(
    samples=st.integers(1, 3000),
    frame_length=st.integers(4, 600),
    share=st.floats(0.05, 0.5),
    window=st.sampled_from(["periodic", "symmetric"]),
)
@settings(max_examples=60, deadline=None)
def test_any_length_frame_and_step_is_exact(samples: int, frame_length: int, share: float, window: str) -> None:
    hop = max(1, int(share * frame_length))
    framing = Framing(FramingRecipe.model_validate({"frame_length": frame_length, "hop_length": hop, "window": window}))
    waveform = torch.randn(3, samples, generator=torch.Generator().manual_seed(samples))
    assert _error_db(waveform, framing.join(framing(waveform), samples)) <= EXACT_DB


def test_the_symmetric_window_is_symmetric_and_the_periodic_is_not() -> None:
    symmetric = Framing(FramingRecipe(window="symmetric")).window
    periodic = Framing(FramingRecipe()).window
    assert torch.allclose(symmetric, symmetric.flip(0), atol=1e-7)
    assert float(symmetric[-1]) == pytest.approx(0, abs=1e-7)
    assert not torch.allclose(periodic, periodic.flip(0), atol=1e-4)


def test_batches_keep_their_axes_and_channels_do_not_mix() -> None:
    framing = Framing(FramingRecipe(frame_length=256, hop_length=64))
    waveform = torch.randn(2, 4, 5, 1000)
    frames = framing(waveform)
    assert frames.shape == (2, 4, 5, framing.count(1000), 256)
    assert torch.equal(frames[1, 2, 3], framing(waveform[1, 2, 3:4])[0])
    assert _error_db(waveform, framing.join(frames, 1000)) <= EXACT_DB


def test_parts_equal_the_whole() -> None:
    framing = Framing(FramingRecipe(frame_length=300, hop_length=100))
    waveform = torch.randn(2, 2345)
    whole = framing.spectra(waveform)
    parts = [framing.spectra(waveform, first, min(7, framing.count(2345) - first)) for first in range(0, 25, 7)]
    assert torch.allclose(torch.cat(parts, -2), whole, atol=1e-5)
    assert whole.shape[-2] == framing.count(2345) == 25


def test_spectra_equal_the_front_end() -> None:
    waveform = torch.from_numpy(synth.noise(0.2))
    framing, stft = Framing(FramingRecipe()), Stft(2048, 512)
    expected = stft(waveform).transpose(-1, -2)
    assert torch.allclose(framing.spectra(waveform)[:, : expected.shape[1]], expected, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_covariance_equals_numpy(channels: int) -> None:
    spectra = torch.randn(channels, 12, 6, dtype=torch.complex64)
    found = covariance(spectra, smoothing=5)
    assert found.shape == (12, 6, channels, channels)
    assert torch.allclose(found, found.mH)
    values = spectra.numpy()
    for frame, (low, high) in {0: (0, 3), 6: (4, 9), 11: (9, 12)}.items():
        window = values[:, low:high, 2]
        assert np.allclose(found[frame, 2].numpy(), window @ window.conj().T / (high - low), atol=1e-5)


def test_smoothing_longer_than_the_sound_is_the_mean_of_all() -> None:
    spectra = torch.randn(2, 3, 4, dtype=torch.complex64)
    found = covariance(spectra, smoothing=9)
    assert torch.allclose(found[0], found[2])
    assert torch.allclose(found[1], covariance(spectra).mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="odd"):
        covariance(spectra, smoothing=2)


def test_a_quiet_passage_after_a_loud_one_keeps_its_covariance() -> None:
    """Running sums would drown it: the difference of two large numbers."""
    spectra = torch.randn(2, 40, 4, dtype=torch.complex64)
    spectra[:, :20] *= 1e4
    quiet = covariance(spectra, smoothing=5)[30]
    alone = covariance(spectra[:, 20:], smoothing=5)[10]
    assert torch.allclose(quiet, alone, rtol=1e-5)


def test_coherence_tells_a_panned_source_from_diffuse_sound() -> None:
    framing = Framing(FramingRecipe())
    voice, room = (torch.from_numpy(synth.noise(2.0, seed=seed)) for seed in (0, 1))
    panned = voice[:1] * torch.tensor([[1.0], [-0.4]])
    for waveform, least, most in ((panned, 0.999, 1.001), (room, 0.0, 0.45)):
        between = coherence(covariance(framing.spectra(waveform), smoothing=15))[20:-20, 10:, 0, 1]
        assert least <= float(between.median()) <= most
    level = covariance(framing.spectra(panned), smoothing=15)[20:-20, 10:]
    assert torch.allclose(level[..., 1, 0].real / level[..., 0, 0].real, torch.tensor(-0.4), atol=1e-3)


def test_a_step_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="at most half of frame_length 512"):
        FramingRecipe(frame_length=512, hop_length=400)
