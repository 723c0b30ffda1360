"""A convolution on bands sorted by parity is the dilated one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sepgan.models.parities import REACH, Parities, SortedHead, sorted_bands

ROUNDING = 1e-6  # of sums of 128 products below one


@pytest.mark.parametrize(("stems", "at_once"), [(1, 8), (2, 4), (3, 2), (4, 2), (9, 1)])
@pytest.mark.parametrize("bands", [16, 48])
def test_it_equals_the_dilated_convolution_at_every_band_and_frame(stems: int, at_once: int, bands: int) -> None:
    draws = torch.Generator().manual_seed(1)
    head = nn.Conv2d(8, 2 * stems, 4, dilation=2, padding=3)
    x = torch.rand(2, 8, bands, 7, generator=draws)
    seen = nn.functional.pad(x, (REACH, REACH)).contiguous(memory_format=torch.channels_last)
    room = Parities(2, 8, bands, 7 + 2 * REACH, like=x)
    for parity, inside in enumerate(room.insides):
        inside.copy_(seen.permute(0, 2, 3, 1).flatten(2)[:, 1 - parity :: 2])
    sorted_head = SortedHead(head, x.dtype)
    assert sorted_head.at_once == at_once
    with torch.no_grad():
        torch.testing.assert_close(sorted_head(room), sorted_bands(head(x)), rtol=0, atol=ROUNDING)


def test_bands_stand_where_it_says() -> None:
    bands = torch.arange(48.0).view(1, 1, 48, 1)
    found = sorted_bands(bands)
    assert found.shape == (1, 2, 2, 2, 2, 1, 3, 1)
    for band in range(48):
        parity, *others = (band >> digit & 1 for digit in range(4))
        place = [0, parity, *reversed(others), 0, band // 16, 0]
        assert found[tuple(place)] == band
