"""What all discriminators have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from sepgan.recipe import GeneratorRecipe
from sepgan.recipe.adversary import Activation

LEAK = 0.2  # of the LeakyReLU of all discriminators


class Judgement(NamedTuple):
    """Scores, higher means more real, and the hidden features they came from; both one tensor a scale or layer."""

    scores: tuple[Tensor, ...]  # each [P, ...], as many judgements an item as the network makes
    features: tuple[Tensor, ...]  # each [P, channels, ...]

    def item_scores(self) -> Tensor:
        """One score an item, `[P]`: the mean over its judgements, and over scales."""
        return torch.stack([scores.float().flatten(1).mean(1) for scores in self.scores]).mean(0)


class Surroundings(NamedTuple):
    """What a discriminator has to know of the rest of the recipe."""

    stems: int
    channels: int
    bands: int = 0
    generator: GeneratorRecipe | None = None
    dimensions: int = 0  # of the points of a toy


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda scores: scores,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "energy": lambda scores: -softplus(scores),  # minus an energy, which is not negative
}


def normed(layer: nn.Module, spectral: bool) -> nn.Module:
    """The layer, under spectral normalisation (Miyato et al., ICLR 2018) where asked for."""
    return spectral_norm(layer) if spectral else layer


def run_layers(layers: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Output of the last layer, and what the ones before it passed on after their activation."""
    features = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            features.append(x)
    return x, tuple(features)


def compress(magnitudes: Tensor, power: float) -> Tensor:
    """`|X|^power`; the small constant bounds its slope at zero, where it is infinite."""
    return (magnitudes + 1e-4) ** power


class PerStem(nn.Module):
    """One network a stem, each judging only stems of its own kind.

    Args:
        make: Returns a new network, to be called once a stem.
        stems: Number of stems, S.

    Shape:
        As the networks it holds; label `[P]` says which of them judges an item.
    """

    def __init__(self, make: Callable[[], nn.Module], stems: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(make() for _ in range(stems))

    def forward(self, mixture: Tensor | None, stem: Tensor, label: Tensor) -> Judgement:
        """Let each network judge its items, and put the judgements back in order."""
        where: list[Tensor] = []
        parts: list[Judgement] = []
        for index, network in enumerate(self.networks):
            items = torch.nonzero(label == index)[:, 0]
            if len(items):
                where.append(items)
                parts.append(network(None if mixture is None else mixture[items], stem[items], label[items]))
        order = torch.cat(where).argsort()
        scores = zip(*(part.scores for part in parts), strict=True)
        features = zip(*(part.features for part in parts), strict=True)
        return Judgement(
            tuple(torch.cat(scale)[order] for scale in scores), tuple(torch.cat(layer)[order] for layer in features)
        )
