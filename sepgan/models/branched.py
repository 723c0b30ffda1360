"""A mask U-Net with one encoder, several decoders and no statistics of a batch.

In shape it is one network of Spleeter (Hennequin et al., JOSS 2020; after Jansson et al., ISMIR 2017), so that it can
begin as Spleeter's vocal network, with four changes. Its deepest level, which has no activation between the way down
and the way up and is thus one linear map, has fewer channels: two thirds of Spleeter's weights lie there. The last
levels of the decoder exist once per branch, so that drums, bass and other do not have to be read off features made for
vocals. Nothing is computed at the full resolution, where few channels keep a processor waiting for memory: the heads
read the masks of four neighbouring cells off each cell of half the resolution (a sub-pixel convolution, Shi et al.,
CVPR 2016). `full_resolution` keeps Spleeter's last level, at half as much time again. And the masks of all stems come
from one softmax, so they sum to one.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.errors import RecipeError
from sepgan.recipe import GeneratorRecipe

KERNEL = 5
LEAK = 0.2  # of the encoder's LeakyReLU, as in Jansson et al.
HEAD_KERNEL = 3
FULL_HEAD_KERNEL = 4  # dilated by two, as in Spleeter
SHARED_UPS = 2  # decoder levels that all branches share, deepest first


class BranchedUNet(nn.Module):
    """Magnitudes to one soft mask per stem.

    Args:
        config: Widths of the levels, width of the bottleneck below them, stems in each branch; whether there is a level
            at the full resolution, and its width.
        stems: Number of masks, S.
        bands: Number of frequency bands F that come in.

    Shape:
        `[B, C, F, N] -> [B, S, C, F, N]`, masks in [0, 1] that sum to 1 over S; any N.

    Raises:
        RecipeError: The branches do not have as many stems as the recipe, or there are too few levels to branch.
    """

    def __init__(self, config: GeneratorRecipe, stems: int, bands: int) -> None:
        super().__init__()
        branches = config.branches or (stems,)
        if sum(branches) != stems:
            raise RecipeError(
                f"generator.branches {list(branches)} has {sum(branches)} stems, the recipe {stems}: make them equal"
            )
        if len(config.widths) <= SHARED_UPS:
            raise RecipeError(f"generator.widths needs at least {SHARED_UPS + 1} levels for kind 'branched'")
        self.stems = stems
        self.bands = bands
        self.channels = config.channels
        self.grid = 2 ** (len(config.widths) + 1)
        widths = config.widths
        self.encoder = nn.ModuleList(
            _Down(size_in, size_out) for size_in, size_out in zip((config.channels, *widths[:-1]), widths, strict=True)
        )
        for down in self.encoder[: config.frozen_levels]:
            down.requires_grad_(False)
        self.bottleneck = _conv(widths[-1], config.bottleneck)
        self.full_resolution = config.full_resolution
        outs = (widths[-1], *reversed(widths[:-1]), *((config.head_width,) if self.full_resolution else ()))
        ins = (config.bottleneck, *(2 * width for width in outs[:-1]))
        dropout = [config.dropout if level < config.dropout_levels else 0.0 for level in range(len(outs))]
        levels = list(zip(ins, outs, dropout, strict=True))
        self.shared = nn.ModuleList(_Up(*level) for level in levels[:SHARED_UPS])
        self.branches = nn.ModuleList(nn.ModuleList(_Up(*level) for level in levels[SHARED_UPS:]) for _ in branches)
        self.heads = nn.ModuleList(
            nn.Conv2d(config.head_width, count * config.channels, FULL_HEAD_KERNEL, dilation=2, padding=3)
            if self.full_resolution
            else nn.Conv2d(2 * widths[0], 4 * count * config.channels, HEAD_KERNEL, padding=HEAD_KERNEL // 2)
            for count in branches
        )

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` for magnitudes `[B, C, F, N]`."""
        batch, channels, bands, frames = magnitudes.shape
        read = zip(self.heads, self.features(magnitudes), strict=True)
        if self.full_resolution:
            logits = torch.cat([head(seen) for head, seen in read], dim=1)[..., :bands, :frames]
            return torch.softmax(logits.reshape(batch, self.stems, channels, bands, frames), dim=1)
        # Each head gives [B, 2 * 2 * S' * C, F / 2, N / 2]: the stems of its branch at four neighbouring cells.
        logits = torch.cat([head(seen).unflatten(1, (2, 2, -1, channels)) for head, seen in read], dim=3)
        masks = torch.softmax(logits, dim=3).permute(0, 3, 4, 5, 1, 6, 2)  # [B, S, C, F / 2, 2, N / 2, 2]
        height, width = 2 * masks.shape[3], 2 * masks.shape[5]
        return masks.reshape(batch, self.stems, channels, height, width)[..., :bands, :frames]

    def features(self, magnitudes: Tensor) -> Iterator[Tensor]:
        """What the head of each branch sees, filled up to the grid.

        Shape:
            `[B, C, F, N] -> [B, 2 W, F / 2, N / 2]`, W the first width; `[B, H, F, N]`, H the width of the head, at the
            full resolution.
        """
        bands, frames = magnitudes.shape[-2:]
        x = functional.pad(magnitudes, (0, -frames % self.grid, 0, -bands % self.grid))
        x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for down in self.encoder:
            skip, x = down(x)
            skips.append(skip)
        x = self.bottleneck(functional.pad(x, (1, 2, 1, 2)))
        for up in self.shared:
            x = torch.cat([skips.pop(), up(x)], dim=1)
        for branch in self.branches:
            y = x
            for level, up in enumerate(branch):  # type: ignore[arg-type]  # mypy sees a ModuleList as a Module
                y = torch.cat([skips[-1 - level], up(y)], dim=1) if level < len(skips) else up(y)
            yield y


class Affine(nn.Module):
    """A gain and an offset a channel: what is left of a normalisation once its statistics are fixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, F, N] -> [B, C, F, N]`."""
        return torch.addcmul(self.bias.view(1, -1, 1, 1), x, self.weight.view(1, -1, 1, 1))


def _conv(size_in: int, size_out: int) -> nn.Conv2d:
    return nn.Conv2d(size_in, size_out, KERNEL, stride=2)


class _Down(nn.Module):
    """Halve both axes; the skip connection leaves before the activation."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.conv = _conv(size_in, size_out)
        self.affine = Affine(size_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # TensorFlow pads one cell before and two behind where the stride is two and the length even.
        skip = self.conv(functional.pad(x, (1, 2, 1, 2)))
        return skip, functional.leaky_relu(self.affine(skip), LEAK)


class _Up(nn.Module):
    """Double both axes by a transposed convolution."""

    def __init__(self, size_in: int, size_out: int, dropout: float) -> None:
        super().__init__()
        # With a bias of its own, PyTorch's transposed convolution takes up to three times as long on a CPU.
        self.conv = nn.ConvTranspose2d(size_in, size_out, KERNEL, stride=2, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(size_out))
        self.affine = Affine(size_out)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)[..., :-1, :-1] + self.bias.view(1, -1, 1, 1)
        y: Tensor = self.dropout(self.affine(functional.relu(x)))
        return y
