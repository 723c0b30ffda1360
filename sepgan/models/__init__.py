"""Networks: magnitudes in, masks or patch scores out. One network per file, one dict literal per kind."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sepgan.errors import RecipeError
from sepgan.models.bandsplit import BandSplitUNet
from sepgan.models.branched import BranchedUNet
from sepgan.models.classic import ClassicUNet
from sepgan.models.encoder_judge import EncoderDiscriminator
from sepgan.models.judgement import PerStem, Surroundings
from sepgan.models.patch import ContextDiscriminator, PatchDiscriminator
from sepgan.models.points import PointDiscriminator
from sepgan.models.spleeter import SpleeterUNets
from sepgan.models.stft_judge import StftDiscriminator
from sepgan.recipe import GeneratorRecipe
from sepgan.recipe.adversary import DiscriminatorRecipe

GENERATORS: dict[str, Callable[[GeneratorRecipe, int, int], nn.Module]] = {
    "bandsplit": BandSplitUNet,
    "branched": BranchedUNet,
    "classic": ClassicUNet,
    "spleeter": SpleeterUNets,
}
DISCRIMINATORS: dict[str, Callable[[DiscriminatorRecipe, Surroundings], nn.Module]] = {
    "patch": PatchDiscriminator,
    "context": ContextDiscriminator,
    "stft": StftDiscriminator,
    "encoder": EncoderDiscriminator,
    "mlp": PointDiscriminator,
}


def build_generator(config: GeneratorRecipe, stems: int, bands: int) -> nn.Module:
    """Return the generator that the recipe names.

    Raises:
        RecipeError: There is no such generator.
    """
    if config.kind not in GENERATORS:
        raise RecipeError(f"generator.kind '{config.kind}' is unknown: choose one of {', '.join(sorted(GENERATORS))}")
    return GENERATORS[config.kind](config, stems, bands)


def build_discriminator(config: DiscriminatorRecipe, around: Surroundings) -> nn.Module:
    """Return a discriminator that the recipe names.

    Raises:
        RecipeError: There is no such discriminator, or it does not fit the rest of the recipe.
    """
    if config.kind not in DISCRIMINATORS:
        known = ", ".join(sorted(DISCRIMINATORS))
        raise RecipeError(f"adversary.kind '{config.kind}' is unknown: choose one of {known}")
    if config.kind == "encoder" and (around.generator is None or around.generator.kind != "classic"):
        raise RecipeError("adversary.kind 'encoder' has the shape of generator.kind 'classic': use both together")
    if (config.kind == "mlp") != (around.dimensions > 0):
        raise RecipeError(
            f"adversary.kind '{config.kind}' does not fit: 'mlp' judges points of a toy, all others stems"
        )
    make = DISCRIMINATORS[config.kind]
    if config.labels == "separate" and config.kind in ("patch", "stft"):
        return PerStem(lambda: make(config, around), around.stems)
    return make(config, around)
