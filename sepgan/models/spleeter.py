"""Spleeter's U-Nets: one network a stem, and masks as shares of their outputs' power.

Hennequin, Khlif, Voituret and Moussallam, "Spleeter: a fast and efficient music source separation tool with pre-trained
models" (JOSS 2020), after Jansson et al. (ISMIR 2017): six strided convolutions of 5 x 5 down, six transposed ones up,
skips taken before the normalisation. Each network gives a magnitude of its stem; masks are ratios of their squares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import RecipeError
from sepgan.recipe import GeneratorRecipe

LEAK = 0.2
BATCH_NORM_EPS = 1e-3  # TensorFlow's default, with which the weights were trained
POWER_FLOOR = 1e-10  # where all networks say silence, every stem gets an equal share
FRAMES = 512  # of one excerpt in training: 11.9 s at 44.1 kHz and a hop of 1024 samples


class SpleeterUNets(nn.Module):
    """One U-Net a stem; the mask of a stem is its share of the power that the networks find.

    Args:
        config: Of the recipe only `channels` and `widths` matter here; Spleeter's widths are the default.
        stems: Number of networks and masks, S.
        bands: Number of frequency bins that come in; Spleeter's networks were trained on 1024.

    Shape:
        `[B, C, F, N] -> [B, S, C, F, N]`, masks in [0, 1] that sum to 1 over S; any N.

    Raises:
        RecipeError: The kernel is another than Spleeter's.
    """

    def __init__(self, config: GeneratorRecipe, stems: int, bands: int) -> None:
        super().__init__()
        if config.kernel != 5:
            raise RecipeError(f"generator.kernel must be 5 for a generator of kind spleeter, got {config.kernel}")
        self.grid = 2 ** len(config.widths)
        self.frames = FRAMES
        self.networks = nn.ModuleList(SpleeterUNet(config.channels, config.widths) for _ in range(stems))

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` for magnitudes `[B, C, F, N]`."""
        bands, frames = magnitudes.shape[-2:]
        padded = functional.pad(magnitudes, (0, -frames % self.grid, 0, -bands % self.grid))
        padded = padded.contiguous(memory_format=torch.channels_last)
        power = torch.stack([(network(padded) * padded).square() for network in self.networks], dim=1)
        power = power[..., :bands, :frames]
        share = POWER_FLOOR / len(self.networks)
        return (power + share) / (power.sum(1, keepdim=True) + POWER_FLOOR)


class SpleeterUNet(nn.Module):
    """The network of one stem: magnitudes to gains in [0, 1].

    Args:
        channels: C, in and out.
        widths: Channels a level, from the finest to the coarsest.

    Shape:
        `[B, C, F, N] -> [B, C, F, N]`, F and N multiples of `2 ** len(widths)`.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Conv2d(size_in, size_out, 5, stride=2)
            for size_in, size_out in zip((channels, *widths[:-1]), widths, strict=True)
        )
        # The coarsest level goes up as it comes out of its convolution: it has no normalisation.
        self.down_normalise = nn.ModuleList(nn.BatchNorm2d(width, eps=BATCH_NORM_EPS) for width in widths[:-1])
        sizes_out = (*reversed(widths[:-1]), 1)
        sizes_in = (widths[-1], *(2 * width for width in sizes_out[:-1]))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(size_in, size_out, 5, stride=2)
            for size_in, size_out in zip(sizes_in, sizes_out, strict=True)
        )
        self.up_normalise = nn.ModuleList(nn.BatchNorm2d(size, eps=BATCH_NORM_EPS) for size in sizes_out)
        self.head = nn.Conv2d(1, channels, 4, dilation=2, padding=3)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return gains `[B, C, F, N]`, which times the magnitudes are the stem's."""
        x = magnitudes
        skips: list[Tensor] = []
        for level, convolve in enumerate(self.down):
            # One cell before and two behind: what "same" means in TensorFlow for a stride of 2.
            skip = convolve(functional.pad(x, (1, 2, 1, 2)))
            skips.append(skip)
            if level < len(self.down_normalise):
                x = functional.leaky_relu(self.down_normalise[level](skip), LEAK)
        x = skips.pop()
        for convolve, normalise in zip(self.up, self.up_normalise, strict=True):
            x = normalise(functional.relu(convolve(x)[..., 1:-2, 1:-2]))
            if skips:
                x = torch.cat([skips.pop(), x], dim=1)
        gains: Tensor = torch.sigmoid(self.head(x))
        return gains
