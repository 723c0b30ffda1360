"""A convolution dilated by two over frequency, on bands sorted by parity.

Such a convolution reads bands of one parity for each that it makes. Sorted, the bands of a parity lie side by side and
it is a convolution without gaps, which can make several of them at once, as channels: a head for one stem in stereo
fills the sixteen places of a vector of AVX-512 where it filled two. The sums have the same terms in the same order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

VECTOR = 16  # channels that a processor computes at once
DIGITS = 3  # binary, of a band's place among eight of one parity
TAPS = 4
# Bands of the other parity that an even band, and an odd one, needs before its own; it needs 3 - BEFORE behind.
BEFORE = (2, 1)
REACH = 3  # frames on either side that the dilated kernel looks at
STEM = 2 + DIGITS  # the dimension after those of sorted bands


class Parities:
    """Room for `[B, C, F, N]` with bands sorted by the parity of those that read them, zeros above and below.

    Attributes:
        padded: What `SortedHead` reads, `[2 B, C, F / 2 + 3, N]` in the order of channels_last.
        insides: Where bands go: of each parity of the reader, its rows of `[B, F / 2, N * C]`.
    """

    def __init__(self, batch: int, channels: int, bands: int, frames: int, like: Tensor) -> None:
        half = bands // 2
        cells = like.new_empty(batch, 2, half + TAPS - 1, frames * channels)
        self.insides = []
        for parity, before in enumerate(BEFORE):
            rows = cells[:, parity]
            rows[:, :before] = 0
            rows[:, before + half :] = 0
            self.insides.append(rows[:, before : before + half])
        self.padded = cells.view(2 * batch, half + TAPS - 1, frames, channels).permute(0, 3, 1, 2)


class SortedHead:
    """The convolution of a head on bands sorted by parity.

    Args:
        head: Of kernel 4 x 4, dilated by two.
        dtype: Of what it will read.

    Attributes:
        at_once: Bands of one parity that it makes together.
    """

    def __init__(self, head: nn.Conv2d, dtype: torch.dtype) -> None:
        fitting = (1 << digits for digits in range(DIGITS + 1) if head.out_channels << digits <= VECTOR)
        self.at_once = max(fitting, default=1)
        weight = head.weight.new_zeros(self.at_once, *head.weight.shape[:2], TAPS + self.at_once - 1, TAPS)
        for place in range(self.at_once):
            weight[place, :, :, place : place + TAPS] = head.weight
        self._weight = weight.flatten(0, 1).to(dtype, memory_format=torch.channels_last)
        self._bias = None if head.bias is None else head.bias.repeat(self.at_once).to(dtype)
        self._turning = torch.eye(len(self._weight), dtype=dtype)

    def __call__(self, room: Parities) -> Tensor:
        """What the head makes of the frames that have `REACH` more on either side.

        Args:
            room: Filled, with a number of bands that 16 divides and N frames.

        Shape:
            `[B, 2, 2, 2, 2, O, F / 16, N - 2 * REACH]`, see `sorted_bands`.
        """
        made = functional.conv2d(room.padded, self._weight, self._bias, stride=(self.at_once, 1), dilation=(1, 2))
        batch, size, _, frames = made.shape
        cells = turned(made, self._turning)
        # Some digits of a band's place are told by channels, which come first now, the others by where its row ends.
        told = self.at_once.bit_length() - 1
        others = DIGITS - told
        cells = cells.movedim(1, 0).view(*(2,) * told, size // self.at_once, batch // 2, 2, -1, *(2,) * others, frames)
        stem, item, parity, row = range(told, told + 4)
        return cells.permute(item, parity, *range(row + 1, row + 1 + others), *range(told), stem, row, row + 1 + others)


def turned(x: Tensor, identity: Tensor) -> Tensor:
    """Put channels, which lie innermost, before all else in memory, even before the batch: `[B, C, F, N]`.

    As a matrix, and by a product that leaves finite numbers as they are, which is quicker than a copy.
    """
    batch, channels, *size = x.shape
    rows = torch.mm(identity, x.permute(0, 2, 3, 1).reshape(-1, channels).T)
    return rows.view(channels, batch, *size).transpose(0, 1)


def sorted_bands(y: Tensor) -> Tensor:
    """View `[B, ..., F, N]` as `SortedHead` orders its bands, `[B, 2, 2, 2, 2, ..., F / 16, N]`.

    Band `f` is in row `f // 16`; the others of its binary digits say where, the last digit first.
    """
    split = torch.unflatten(y, -2, (-1, *(2,) * DIGITS, 2))
    return split.movedim((-2, *range(-2 - DIGITS, -2)), tuple(range(1, DIGITS + 2)))
