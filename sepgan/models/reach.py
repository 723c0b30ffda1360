"""How far a generator sees: which masks of an excerpt are as they would be in the whole song.

A generator either says how many frames to either side a mask depends on (`reach`; None where there is no end), or a
twin of it with few weights is probed: it gets frames that are not a number, which every layer passes on to all that it
makes of them. So the answer is that of the layers as they are, with their strides, paddings and crops.
"""

from __future__ import annotations

import torch
from torch import nn

from sepgan.models import build_generator
from sepgan.recipe import GeneratorRecipe

CELLS = (16, 32, 64, 128)  # lengths of the probe in cells of the grid; what sees further has no end for us
_TINY = 0.01  # weights of the twin: no number may grow out of float32


def edges(generator: nn.Module, config: GeneratorRecipe, begin: int, end: int) -> tuple[int, int] | None:
    """Return how many masks at the begin and at the end of an excerpt are not those of the whole song.

    The excerpt begins on the generator's grid, is a whole number of its cells long, and lies within the song.

    Args:
        generator: Of that recipe, or an exported graph of it.
        config: The recipe.
        begin: Frames at the begin that differ from the song's already when the generator gets them.
        end: Frames at the end that do.

    Returns:
        Frames at the begin and at the end; None where every mask depends on the whole excerpt.
    """
    if hasattr(generator, "reach"):
        reach: int | None = getattr(generator, "reach")  # noqa: B009  # for the type checker a Tensor or a Module
        return None if reach is None else (begin + reach, end + reach)
    bands = 2 ** (len(config.widths) + 1)
    twin = _twin(config, bands)
    grid = int(getattr(twin, "grid", 1))
    for cells in CELLS:
        # Between the damaged frames lie `cells` cells; beyond them lies one more on each side, which is the song.
        outside = grid * -(-max(begin, end, 1) // grid)
        frames = cells * grid + 2 * outside
        magnitudes = torch.zeros(1, config.channels, bands, frames)
        magnitudes[..., : outside + begin] = torch.nan
        magnitudes[..., frames - outside - end :] = torch.nan
        with torch.no_grad():  # inference may take a quicker way, which multiplies what it does not need by zero
            masks = twin(magnitudes)
        whole = torch.nonzero(~masks.isnan().flatten(0, -2).any(0)).flatten()
        if len(whole):
            return int(whole[0]) - outside, frames - outside - 1 - int(whole[-1])
    return None


def _twin(config: GeneratorRecipe, bands: int) -> nn.Module:
    """A generator of the same layers with one channel each."""
    slim = {"widths": (1,) * len(config.widths), "bottleneck": 1, "branches": (), "nested": False}
    with torch.random.fork_rng(devices=[]):  # its first weights do not matter, and nobody's random numbers may change
        twin = build_generator(config.model_copy(update=slim), 2, bands).eval()
    with torch.no_grad():
        for weights in twin.parameters():
            weights.fill_(_TINY)
    return twin
