"""Levels of a branched U-Net as a CPU runs them best: what follows a convolution is in its weights, or one bound.

After a transposed convolution come a bias, an activation, a gain and an offset. With the gain `g` in the weights they
are `max(x + g b + s, s)`, or the same with `min` where the gain is below zero: what is left is a sum and a bound.
All activations here are `[B, F, N, C]`, as oneDNN reads them, and levels write where the next one reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepgan.models.branched_levels import LEAK, Down, Up

Cells = Sequence[Sequence[Tensor]]
"""What a level up makes, by the parity of the band and of the frame: `[B, F or F + 1, N or N + 1, O]` each."""


class FoldedDown:
    """A level down.

    Args:
        level: As it was trained.
        dtype: Of what it reads.
    """

    def __init__(self, level: Down, dtype: torch.dtype) -> None:
        self._halving = Halving(level.conv, dtype)
        self._gain, self._offset = level.affine.weight.to(dtype), level.affine.bias.to(dtype)

    def skip(self, x: Tensor) -> Tensor:
        """The skip connection `[B, F / 2, N / 2, O]` of what has margins, `[B, F + 3, N + 3, C]`."""
        return self._halving(x)

    def activate(self, skip: Tensor, inside: Tensor) -> None:
        """Write what comes after the skip connection.

        Args:
            skip: `[B, F, N, O]`.
            inside: `[B, F, N * O]`.
        """
        frames = skip.shape[2]
        torch.addcmul(self._offset.repeat(frames), skip.flatten(2), self._gain.repeat(frames), out=inside)
        functional.leaky_relu_(inside, LEAK)


class Halving:
    """A convolution that halves both axes of `[B, F + 3, N + 3, C]`."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        self._weight = layer.weight.to(dtype, memory_format=torch.channels_last)
        self._bias = None if layer.bias is None else layer.bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, F + 3, N + 3, C] -> [B, F / 2, N / 2, O]`."""
        return functional.conv2d(x.permute(0, 3, 1, 2), self._weight, self._bias, stride=2).permute(0, 2, 3, 1)


class FoldedUp:
    """A level up without dropout.

    It is made as four convolutions, each of the taps that the cells of one parity of band and frame see, which run
    nearer to what a processor can than a transposed one.

    Args:
        level: As it was trained.
        dtype: Of what it reads.
    """

    def __init__(self, level: Up, dtype: torch.dtype) -> None:
        kernel = folded_kernel(level)
        self._weights = [[taps_of(kernel, band, frame).to(dtype) for frame in (0, 1)] for band in (0, 1)]
        self._bias, self._low, self._high = bounds(level, dtype)

    def cells(self, x: Tensor) -> Cells:
        """What becomes of `[B, F, 1 + N + 1, C]`, columns with one more on either side."""
        x = x.permute(0, 3, 1, 2)
        return [
            [functional.conv2d(x, weight, self._bias, padding=(1, 0)).permute(0, 2, 3, 1) for weight in band]
            for band in self._weights
        ]

    def bound(self, cells: Cells, room: Tensor, first: int) -> None:
        """Write some columns of `cells`, those from number `first`, into `[B, 2 F, n, O]`, with what follows them."""
        for band, made in enumerate(cells):
            for frame, those in enumerate(made):
                before = (frame - first) % 2  # columns of the other parity
                place = room[:, band::2, before::2]
                begin = (first + before) // 2
                wanted = those[:, : place.shape[1], begin : begin + place.shape[2]]
                torch.clamp(wanted, self._low, self._high, out=place)


class FoldedLast:
    """The level at the full resolution, which writes bands sorted by parity.

    With few channels it is quicker to make the two cells of each cell that comes in as channels, by a kernel of three
    that reaches all that any of them needs, with zeros where it is not needed.

    Args:
        level: As it was trained.
        dtype: Of what it reads.
    """

    def __init__(self, level: Up, dtype: torch.dtype) -> None:
        kernel = folded_kernel(level)
        self.channels = len(kernel)
        # Bands of one parity are read by those of the other, which is what they are sorted by.
        self._weights = [_cells(kernel, band, dtype) for band in (1, 0)]
        offset, self._low, self._high = bounds(level, dtype)
        self._bias = offset.repeat(2)

    def write(self, x: Tensor, rows: Sequence[Tensor], first: int) -> None:
        """Write some of the frames that columns become.

        Args:
            x: `[B, F', 1 + N + 1, C]`, with one more column on either side, and F' above F unless that is all.
            rows: Where bands go, as in `Parities.insides`: `[B, F, n * O]`.
            first: Of the 2 N frames.
        """
        _, bands, size = rows[0].shape
        frames = size // self.channels
        begin = first * self.channels
        low, high = self._low.repeat(frames), self._high.repeat(frames)
        for weight, room in zip(self._weights, rows, strict=True):
            made = functional.conv2d(x.permute(0, 3, 1, 2), weight, self._bias, padding=(1, 0))
            wanted = made.permute(0, 2, 3, 1).flatten(2)[:, :bands, begin : begin + room.shape[2]]
            torch.clamp(wanted, low, high, out=room)


def folded_kernel(level: Up) -> Tensor:
    """Of the transposed convolution, with the gain: `[O, KERNEL, KERNEL, C]`."""
    weight = level.conv.weight.permute(0, 2, 3, 1)
    turned = weight.flatten(1).T.contiguous().view(*weight.shape[1:], -1)  # as a matrix, which is quicker
    return (turned * level.affine.weight.view(-1, 1)).permute(2, 0, 1, 3)


def taps_of(kernel: Tensor, band: int, frame: int) -> Tensor:
    """Those by which a transposed convolution makes cells of one parity of either, in the order of a plain one."""
    taps = kernel[:, 1 - band :: 2, 1 - frame :: 2].flip(1, 2)
    return taps.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def bounds(level: Up, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What is added to a convolution whose weights have the gain, and between what its sum lies then."""
    gain, offset = level.affine.weight, level.affine.bias
    low = torch.where(gain > 0, offset, -torch.inf)
    high = torch.where(gain > 0, torch.inf, offset)
    return (gain * level.bias + offset).to(dtype), low.to(dtype), high.to(dtype)


def _cells(kernel: Tensor, band: int, dtype: torch.dtype) -> Tensor:
    """Of bands of one parity the kernel that makes two frames: `[2 O, C, 2 or 3, 3]`."""
    frames = [taps_of(kernel, band, frame) for frame in (0, 1)]
    cells = torch.cat([functional.pad(taps, (0, 3 - taps.shape[3])) for taps in frames])
    return cells.to(dtype, memory_format=torch.channels_last)
