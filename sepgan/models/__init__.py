"""Networks: magnitudes in, masks or patch scores out. One network per file, one dict literal per kind."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sepgan.errors import RecipeError
from sepgan.models.classic import ClassicUNet
from sepgan.models.patch import PatchDiscriminator
from sepgan.models.spleeter import SpleeterUNets
from sepgan.recipe import AdversaryRecipe, GeneratorRecipe

GENERATORS: dict[str, Callable[[GeneratorRecipe, int, int], nn.Module]] = {
    "classic": ClassicUNet,
    "spleeter": SpleeterUNets,
}
DISCRIMINATORS: dict[str, Callable[[AdversaryRecipe, int, int], nn.Module]] = {"patch": PatchDiscriminator}


def build_generator(config: GeneratorRecipe, stems: int, bands: int) -> nn.Module:
    """Return the generator that the recipe names.

    Raises:
        RecipeError: There is no such generator.
    """
    if config.kind not in GENERATORS:
        raise RecipeError(f"generator.kind '{config.kind}' is unknown: choose one of {', '.join(sorted(GENERATORS))}")
    return GENERATORS[config.kind](config, stems, bands)


def build_discriminator(config: AdversaryRecipe, stems: int, channels: int) -> nn.Module:
    """Return the discriminator that the recipe names.

    Raises:
        RecipeError: There is no such discriminator.
    """
    if config.kind not in DISCRIMINATORS:
        known = ", ".join(sorted(DISCRIMINATORS))
        raise RecipeError(f"adversary.kind '{config.kind}' is unknown: choose one of {known}")
    return DISCRIMINATORS[config.kind](config, stems, channels)
