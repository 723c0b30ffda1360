"""Small fully connected networks for points, such as those of the toys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from sepgan.models.judgement import ACTIVATIONS, LEAK, Judgement, Surroundings, normed, run_layers
from sepgan.recipe.adversary import DiscriminatorRecipe


class PointGenerator(nn.Sequential):
    """Noise to points: linear layers with LeakyReLU between them.

    Args:
        noise: Dimensions of the noise.
        widths: Of the hidden layers.
        dimensions: Of a point.

    Shape:
        `[P, noise] -> [P, dimensions]`.
    """

    def __init__(self, noise: int, widths: Sequence[int], dimensions: int) -> None:
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise((noise, *widths)):
            layers += [nn.Linear(size_in, size_out), nn.LeakyReLU(LEAK)]
        super().__init__(*layers, nn.Linear((noise, *widths)[-1], dimensions))


class PointDiscriminator(nn.Module):
    """Judge points, one score each.

    Args:
        config: Widths of the hidden layers, spectral normalisation, activation.
        around: Dimensions of a point.

    Shape:
        stem `[P, D]` -> one scale of scores `[P, 1]`; mixture and label are not looked at.
    """

    def __init__(self, config: DiscriminatorRecipe, around: Surroundings) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise((around.dimensions, *config.widths)):
            layers += [normed(nn.Linear(size_in, size_out), config.spectral_norm), nn.LeakyReLU(LEAK)]
        layers.append(normed(nn.Linear(config.widths[-1], 1), config.spectral_norm))
        self.layers = nn.Sequential(*layers)

    def forward(self, mixture: Tensor | None, stem: Tensor, label: Tensor | None) -> Judgement:
        """Score each point."""
        scores, features = run_layers(list(self.layers), stem)
        return Judgement((ACTIVATIONS[self.config.activation](scores),), features)
