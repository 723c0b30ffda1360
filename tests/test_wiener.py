"""The multichannel Wiener filter: what norbert computes, and what must hold of it without."""

import importlib
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan.wiener import wiener

SAME_DB = -100.0  # relative to the stems; norbert works in double precision
SUM_DB = -50.0  # what the regularisation of the mixture's covariance takes away


def estimates(channels: int, loud: float = 20.0) -> tuple[Tensor, Tensor]:
    """Masked stems `[1, 3, C, F, N]` and a mixture `[1, C, F, N]`, its channels related."""
    generator = torch.Generator().manual_seed(channels)
    source = torch.randn(1, 3, 1, 17, 20, dtype=torch.complex64, generator=generator) * loud
    place = torch.randn(1, 3, channels, 1, 1, generator=generator)
    mixture = (source * place).sum(1)
    masks = torch.softmax(2 * torch.randn(1, 3, channels, 17, 20, generator=generator), dim=1)
    return masks * mixture.unsqueeze(1), mixture


def error_db(wanted: Tensor, got: Tensor) -> float:
    return float(10 * torch.log10((got - wanted).abs().square().sum() / wanted.abs().square().sum()))


@pytest.fixture(scope="module")
def norbert() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it names a part of scipy by its old place
        return importlib.import_module("norbert")


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("iterations", [1, 3])
def test_it_is_what_norbert_computes(norbert: Any, channels: int, iterations: int) -> None:
    stems, mixture = estimates(channels)
    observed = mixture[0].permute(2, 1, 0).numpy().astype(np.complex128)  # [N, F, C]
    first = stems[0].permute(3, 2, 1, 0).numpy().astype(np.complex128)  # [N, F, C, S]
    scale = max(1.0, np.abs(observed).max() / 10)  # as norbert.wiener does around this function
    refined, _, _ = norbert.expectation_maximization(
        first / scale, observed / scale, iterations, eps=np.finfo(np.float32).eps
    )
    theirs = torch.from_numpy(refined * scale).permute(3, 2, 1, 0).unsqueeze(0)
    assert error_db(theirs, wiener(stems, mixture, iterations)) <= SAME_DB


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_stems_sum_to_the_mixture(channels: int) -> None:
    stems, mixture = estimates(channels)
    before = stems.clone()
    assert error_db(mixture, wiener(stems, mixture, 2).sum(1)) <= SUM_DB
    assert torch.equal(stems, before)
    assert wiener(stems, mixture, 0) is stems


def test_equal_channels_stay_equal_and_finite() -> None:
    stems, mixture = estimates(1)
    twice = wiener(stems.expand(-1, -1, 2, -1, -1), mixture.expand(-1, 2, -1, -1), 2)
    assert bool(twice.isfinite().all())
    assert error_db(twice[:, :, 0], twice[:, :, 1]) <= SAME_DB


def test_a_source_in_another_place_is_suppressed() -> None:
    # Two sources panned apart, masks that know little: the covariances tell them apart, one channel could not.
    generator = torch.Generator().manual_seed(0)
    sources = torch.randn(1, 2, 1, 30, 200, dtype=torch.complex64, generator=generator)
    place = torch.tensor([[1.0, 0.1], [0.1, 1.0]]).view(1, 2, 2, 1, 1)
    images = sources * place
    mixture = images.sum(1)
    loud = images.abs().square()
    masks = (loud / loud.sum(1, keepdim=True)) * 0.6 + 0.2
    first = masks * mixture.unsqueeze(1)
    assert error_db(images, wiener(first, mixture, 3)) < error_db(images, first) - 6.0


def test_silence_stays_silent() -> None:
    silence = torch.zeros(1, 2, 2, 5, 4, dtype=torch.complex64)
    assert float(wiener(silence, silence[:, 0], 2).abs().max()) == 0.0
