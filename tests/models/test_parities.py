"""A convolution on bands sorted by parity is the dilated one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sepgan.models.parities import Parities, convolve, sorted_bands

ROUNDING = 1e-6  # of sums of 128 products below one


@pytest.mark.parametrize("stems", [1, 3])
@pytest.mark.parametrize("bands", [8, 24])
def test_it_equals_the_dilated_convolution_at_every_band_and_frame(stems: int, bands: int) -> None:
    draws = torch.Generator().manual_seed(1)
    head = nn.Conv2d(8, 2 * stems, 4, dilation=2, padding=3)
    x = torch.rand(2, 8, bands, 7, generator=draws).contiguous(memory_format=torch.channels_last)
    room = Parities(2, 8, bands, 7, like=x)
    for parity, inside in enumerate(room.insides):
        inside.copy_(x.permute(0, 2, 3, 1).flatten(2)[:, 1 - parity :: 2])
    with torch.no_grad():
        torch.testing.assert_close(convolve(head, room), sorted_bands(head(x)), rtol=0, atol=ROUNDING)


def test_bands_stand_where_it_says() -> None:
    bands = torch.arange(32.0).view(1, 1, 32, 1)
    found = sorted_bands(bands)
    assert found.shape == (1, 2, 4, 1, 4, 1)
    assert all(found[0, f % 2, f // 2 % 4, 0, f // 8, 0] == f for f in range(32))
