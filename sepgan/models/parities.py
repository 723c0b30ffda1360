"""A convolution dilated by two over frequency, on bands sorted by parity.

Such a convolution reads bands of one parity for each that it makes. Sorted, the bands of a parity lie side by side and
it is a convolution without gaps, which can make four of them at once, as channels: a head for one stem in stereo fills
the eight places of a vector of AVX2 where it filled two. The sums have the same terms in the same order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

AT_ONCE = 4  # bands of one parity
TAPS = 4
BEFORE = (
    2,
    1,
)  # bands of the other parity that an even band, and an odd one, needs before its own; it needs 3 - BEFORE behind
MARGIN = 3  # frames on either side, as many as the dilated kernel looks beyond


class Parities:
    """Room for `[B, C, F, N]` with bands sorted by the parity of those that read them, zeros all around.

    Attributes:
        padded: What `convolve` reads, `[2 B, C, F / 2 + 3, N + 6]` in the order of channels_last.
        insides: Where bands go: of each parity of the reader, its rows of `[B, F / 2, N * C]`.
    """

    def __init__(self, batch: int, channels: int, bands: int, frames: int, like: Tensor) -> None:
        half = bands // 2
        cells = like.new_empty(batch, 2, half + TAPS - 1, (frames + 2 * MARGIN) * channels)
        edge = MARGIN * channels
        cells[..., :edge] = 0
        cells[..., -edge:] = 0
        self.insides = []
        for parity, before in enumerate(BEFORE):
            rows = cells[:, parity]
            rows[:, :before] = 0
            rows[:, before + half :] = 0
            self.insides.append(rows[:, before : before + half, edge:-edge])
        self.padded = cells.view(2 * batch, half + TAPS - 1, frames + 2 * MARGIN, channels).permute(0, 3, 1, 2)


def convolve(head: nn.Conv2d, room: Parities) -> Tensor:
    """What `head` makes of the bands.

    Args:
        head: Of kernel 4 x 4, dilated by two, padded by three.
        room: Filled, with a number of bands that `2 * AT_ONCE` divides.

    Shape:
        `[B, 2, AT_ONCE, O, F / 8, N]`: band `f` is at parity `f % 2`, place `f // 2 % AT_ONCE` and row `f // 8`.
    """
    weight = head.weight.new_zeros(AT_ONCE, *head.weight.shape[:2], TAPS + AT_ONCE - 1, TAPS)
    for place in range(AT_ONCE):
        weight[place, :, :, place : place + TAPS] = head.weight
    bias = None if head.bias is None else head.bias.repeat(AT_ONCE)
    made = functional.conv2d(room.padded, weight.flatten(0, 1), bias, stride=(AT_ONCE, 1), dilation=(1, 2))
    return torch.unflatten(torch.unflatten(made, 0, (-1, 2)), 2, (AT_ONCE, -1))


def sorted_bands(y: Tensor) -> Tensor:
    """View `[B, ..., F, N]` as `convolve` orders its bands, `[B, 2, AT_ONCE, ..., F / 8, N]`."""
    return torch.unflatten(y, -2, (-1, AT_ONCE, 2)).movedim((-2, -3), (1, 2))
