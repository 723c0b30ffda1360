"""Noise for generators: the four distributions, and the network that receives it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sepgan import recipe
from sepgan.errors import RecipeError
from sepgan.models.classic import ClassicUNet
from sepgan.models.noise import mean_noise, sample_noise
from sepgan.recipe import GeneratorRecipe
from sepgan.recipe.noise import NoiseRecipe

DRAWN = 40_000
NEAR = 0.03  # absolute; three standard errors of a mean of so many at deviation 2


def drawn(**keys: object) -> Tensor:
    config = NoiseRecipe.model_validate({"dimensions": 1} | keys)
    return sample_noise(config, (DRAWN,), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("keys", "mean", "deviation", "kurtosis"),
    [
        ({}, 0.0, 1.0, 3.0),
        ({"distribution": "rescaled", "mean": 1.5, "deviation": 0.3}, 1.5, math.sqrt(0.09 + 0.01), 3.0),
        ({"distribution": "uniform", "low": -1.0, "high": 3.0}, 1.0, 4 / math.sqrt(12), 1.8),
        ({"distribution": "mixture", "centres": [-2.0, 2.0], "spread": 0.5}, 0.0, math.sqrt(4 + 0.25), None),
    ],
)
def test_the_distributions(keys: dict[str, Any], mean: float, deviation: float, kurtosis: float | None) -> None:
    values = drawn(**keys)
    assert float(values.mean()) == pytest.approx(mean, abs=NEAR)
    assert float(values.std()) == pytest.approx(deviation, abs=NEAR)
    assert mean_noise(NoiseRecipe.model_validate(keys)) == pytest.approx(mean)
    if kurtosis is not None:
        fourth = ((values - values.mean()) / values.std()).pow(4).mean()
        assert float(fourth) == pytest.approx(kurtosis, abs=0.1)


def test_bounds_and_centres() -> None:
    uniform = drawn(distribution="uniform", low=2.0, high=2.5)
    assert 2.0 <= float(uniform.min()) < 2.001
    assert 2.499 < float(uniform.max()) <= 2.5
    mixed = drawn(distribution="mixture", centres=[-3.0, 0.0, 3.0], spread=0.1)
    shares = [float(((mixed - centre).abs() < 0.5).float().mean()) for centre in (-3.0, 0.0, 3.0)]
    assert shares == pytest.approx([1 / 3] * 3, abs=NEAR)


def test_noise_is_seeded() -> None:
    for distribution in ("normal", "rescaled", "uniform", "mixture"):
        assert torch.equal(drawn(distribution=distribution), drawn(distribution=distribution))


def unet(dimensions: int) -> ClassicUNet:
    torch.manual_seed(0)
    noise = NoiseRecipe(dimensions=dimensions, distribution="uniform", low=0.0, high=2.0)
    config = GeneratorRecipe(widths=(4, 8), head_width=4, dropout=0.0, channels=1, noise=noise)
    return ClassicUNet(config, stems=2, bands=16)


def test_a_generator_sees_noise_in_training_and_its_mean_afterwards() -> None:
    mixture = torch.rand(2, 1, 16, 8, generator=torch.Generator().manual_seed(1))
    network = unet(3)
    assert not torch.equal(network(mixture), network(mixture))
    network.eval()
    masks = network(mixture)
    assert torch.equal(masks, network(mixture))
    torch.testing.assert_close(masks.sum(1), torch.ones(2, 1, 16, 8))


def test_without_noise_nothing_changes() -> None:
    """No weight more, no random number drawn: the recipes and models of before stay what they are."""
    network = unet(0).train()
    before = torch.get_rng_state()
    network(torch.rand(1, 1, 16, 8, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(before, torch.get_rng_state())
    assert [weight.shape[1] for name, weight in network.named_parameters() if name == "head.weight"] == [4 + 2]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"generator": {"kind": "branched", "noise": {"dimensions": 2}}},
            "generator.noise needs generator.kind 'class",
        ),
        ({"generator": {"noise": {"low": 1.0, "high": 0.0}}}, "noise.low must be below noise.high, got 1.0 and 0.0"),
        ({"generator": {"noise": {"distribution": "cauchy"}}}, "'generator.noise.distribution' = 'cauchy'"),
        ({"toy": {"noise": {"dimensions": 0}}}, "toy.noise.dimensions must be at least 1"),
        ({"toy": {"widths": [0]}}, "toy.widths must be at least 1 each"),
        ({"toy": {"function": "cosine"}}, "'toy.function' = 'cosine'"),
        ({"toy": {"multiple": 60}}, "'toy.multiple' = 60"),
    ],
)
def test_bad_recipes(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.from_dict({"name": "x", **keys})
