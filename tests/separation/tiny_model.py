"""Untrained models of a few thousand weights in files, for tests that go through the command line."""

from pathlib import Path

import torch

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe, to_dict
from sepgan.separator import Separator


def write_model(path: Path, seed: int = 0) -> Path:
    """Write a network of four stems at 44.1 kHz; each seed has its own weights."""
    recipe = Recipe(
        name=path.stem,
        frontend=FrontendRecipe(n_fft=512, hop_length=128),
        generator=GeneratorRecipe(widths=(4, 4), head_width=4),
    )
    torch.manual_seed(seed)
    separator = Separator(recipe)
    header = CheckpointHeader(
        name=path.stem,
        stems=separator.stems,
        sample_rate=separator.sample_rate,
        recipe=to_dict(recipe),
        licence="CC0 1.0",
    )
    checkpoint.write(path, header, separator.generator.state_dict())
    return path
