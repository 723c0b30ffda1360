"""Noise that a generator starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sepgan.recipe.noise import NoiseRecipe

EXTRA_VARIANCE = 0.01  # of the second part of `rescaled`, N(0, 0.01)


def sample_noise(config: NoiseRecipe, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
    """Draw random numbers of the distribution that the recipe names, in float32 on the generator's device.

    Args:
        config: Distribution and its numbers: `normal` N(0, 1); `rescaled` mean + deviation * N(0, 1) + N(0, 0.01), the
            second argument a variance; `uniform` between low and high; `mixture`, each number from a Gaussian of the
            given spread around one of the centres, all equally likely.
        shape: Of the result.
        generator: The global one by default.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    if config.distribution == "uniform":
        spread = (config.high - config.low) * torch.rand(*shape, generator=generator, device=device)
        uniform: Tensor = config.low + spread
        return uniform
    normal: Tensor = torch.randn(*shape, generator=generator, device=device)
    if config.distribution == "normal":
        return normal
    if config.distribution == "rescaled":
        extra = EXTRA_VARIANCE**0.5 * torch.randn(*shape, generator=generator, device=device)
        rescaled: Tensor = config.mean + config.deviation * normal + extra
        return rescaled
    centres = torch.tensor(config.centres, device=device)
    chosen = torch.randint(len(centres), tuple(shape), generator=generator, device=device)
    mixed: Tensor = centres[chosen] + config.spread * normal
    return mixed


def mean_noise(config: NoiseRecipe) -> float:
    """The mean of the distribution."""
    means = {"normal": 0.0, "rescaled": config.mean, "uniform": (config.low + config.high) / 2}
    return means.get(config.distribution, sum(config.centres) / len(config.centres))
