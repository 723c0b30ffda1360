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

from sepgan.models.branched_levels import KERNEL, LEAK, Down, Up


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

    Args:
        level: As it was trained.
        dtype: Of what it reads.
    """

    def __init__(self, level: Up, dtype: torch.dtype) -> None:
        self._weight = _weight(level).to(dtype)
        self._offset, self._low, self._high = _bounds(level, dtype)

    def write(self, x: Tensor, room: Tensor, first: int) -> None:
        """Write some columns of what `[B, F, N, C]` becomes, those from number `first`, into `[B, 2 F, n, O]`."""
        # Columns that are not wanted on both sides need not be made.
        spare = min(first, 2 * x.shape[2] + 1 - first - room.shape[2], KERNEL - 2)
        made = functional.conv_transpose2d(x.permute(0, 3, 1, 2), self._weight, stride=2, padding=(1, 1 + spare))
        wanted = made.permute(0, 2, 3, 1)[:, : room.shape[1], first - spare :][:, :, : room.shape[2]]
        wanted.add_(self._offset)  # in place: nobody else has it
        torch.clamp(wanted, self._low, self._high, out=room)


class FoldedLast:
    """The level at the full resolution, which writes bands sorted by parity.

    With few channels it is quicker to make the two cells of each cell that comes in as channels, by a kernel of three
    that reaches all that any of them needs, with zeros where it is not needed.

    Args:
        level: As it was trained.
        dtype: Of what it reads.
    """

    def __init__(self, level: Up, dtype: torch.dtype) -> None:
        kernel = _weight(level).transpose(0, 1)  # [O, C, KERNEL, KERNEL]
        self.channels = len(kernel)
        # Bands of one parity are read by those of the other, which is what they are sorted by.
        self._weights = [_cells(kernel[:, :, 1 - band :: 2], dtype) for band in (1, 0)]
        self._offset, self._low, self._high = _bounds(level, dtype)

    def write(self, x: Tensor, rows: Sequence[Tensor], first: int) -> None:
        """Write some frames of what `[B, F, N, C]` becomes, those from number `first`.

        Args:
            x: `[B, F, N, C]`.
            rows: Where bands go, as in `Parities.insides`: `[B, F, n * O]`.
            first: Of the 2 N frames.
        """
        bands, bias = x.shape[1], self._offset.repeat(2)
        for weight, room in zip(self._weights, rows, strict=True):
            frames = room.shape[2] // self.channels
            spare = min(1, min(first, 2 * x.shape[2] - first - frames) // 2)  # columns not wanted on both sides
            made = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=(1, 1 - spare))
            begin = (first - 2 * spare) * self.channels
            wanted = made.permute(0, 2, 3, 1).flatten(2)[:, :bands, begin : begin + room.shape[2]]
            torch.clamp(wanted, self._low.repeat(frames), self._high.repeat(frames), out=room)


def _weight(level: Up) -> Tensor:
    """Of the transposed convolution, with the gain: `[C, O, KERNEL, KERNEL]`."""
    return level.conv.weight * level.affine.weight.view(1, -1, 1, 1)


def _bounds(level: Up, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What is added to a convolution whose weights have the gain, and between what its sum lies then."""
    gain, offset = level.affine.weight, level.affine.bias
    low = torch.where(gain > 0, offset, -torch.inf)
    high = torch.where(gain > 0, torch.inf, offset)
    return (gain * level.bias + offset).to(dtype), low.to(dtype), high.to(dtype)


def _cells(kernel: Tensor, dtype: torch.dtype) -> Tensor:
    """Of bands of one parity, `[O, C, 2 or 3, KERNEL]`, the kernel that makes two frames: `[2 O, C, 2 or 3, 3]`."""
    cells = kernel.new_zeros(2, *kernel.shape[:3], 3)
    for frame in range(2):
        taps = kernel[..., 1 - frame :: 2].flip(2, 3)
        cells[frame, ..., : taps.shape[3]] = taps
    return cells.flatten(0, 1).to(dtype, memory_format=torch.channels_last)
