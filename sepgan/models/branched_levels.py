"""Levels of a branched U-Net: down and up by two, each with a gain and an offset that were once a normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL = 5
LEAK = 0.2  # of the encoder's LeakyReLU, as in Jansson et al.
MARGINS = (1, 2)  # cells before and behind: so TensorFlow pads where the stride is two and the length even


class Affine(nn.Module):
    """A gain and an offset a channel: what is left of a normalisation once its statistics are fixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, F, N] -> [B, C, F, N]`."""
        return torch.addcmul(self.bias.view(1, -1, 1, 1), x, self.weight.view(1, -1, 1, 1))


class Down(nn.Module):
    """Halve both axes; the skip connection leaves before the activation."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.conv = halving(size_in, size_out)
        self.affine = Affine(size_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, F, N]` to the skip connection and the output, both `[B, O, F / 2, N / 2]`."""
        skip = self.conv(functional.pad(x, (*MARGINS, *MARGINS)))
        return skip, functional.leaky_relu_(self.affine(skip), LEAK)


class Up(nn.Module):
    """Double both axes by a transposed convolution."""

    def __init__(self, size_in: int, size_out: int, dropout: float) -> None:
        super().__init__()
        # With a bias of its own, PyTorch's transposed convolution takes up to three times as long on a CPU.
        self.conv = nn.ConvTranspose2d(size_in, size_out, KERNEL, stride=2, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(size_out))
        self.affine = Affine(size_out)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, F, N] -> [B, O, 2 F, 2 N]`."""
        x = self.conv(x)[..., :-1, :-1].add_(self.bias.view(1, -1, 1, 1))  # in place: nobody else has it
        y: Tensor = self.dropout(self.affine(functional.relu_(x)))
        return y


def halving(size_in: int, size_out: int) -> nn.Conv2d:
    """A convolution that halves both axes of what has `MARGINS`."""
    return nn.Conv2d(size_in, size_out, KERNEL, stride=2)


def needed(part: range, columns: int) -> range:
    """Which of the columns of a level, so many, `Up` makes some of the next one's of.

    >>> needed(range(8, 12), 100), needed(range(0, 3), 2)
    (range(3, 7), range(0, 2))
    """
    return range(max(0, part.start // 2 - 1), min(columns, (part.stop - 1) // 2 + 2))
