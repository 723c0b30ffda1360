"""Which channels a model sees together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan import audio
from sepgan.engine import Engine
from sepgan.errors import UsageError
from sepgan.recipe import FrontendRecipe, GeneratorRecipe, Recipe
from sepgan.separation import SeparationOptions, separate_file
from sepgan.separation.channels import parse_layout
from sepgan.separator import Separator
from tests.separation.fake import NULL_DBFS, Shares, dbfs, noise, sum_of, write

SAME = 1e-6  # full scale; the place in a batch may change the last bits


@pytest.mark.parametrize(
    ("text", "channels", "layout"),
    [
        ("auto", 1, ((0,),)),
        ("auto", 2, ((0, 1),)),
        ("auto", 3, ((0, 1), (2,))),
        ("auto", 4, ((0, 1), (2, 3))),
        ("auto", 6, ((0, 1), (2,), (3,), (4, 5))),
        ("auto", 7, ((0, 1), (2,), (3,), (4,), (5, 6))),
        ("auto", 8, ((0, 1), (2,), (3,), (4, 5), (6, 7))),
        ("auto", 9, tuple((channel,) for channel in range(9))),
        ("mono", 2, ((0,), (1,))),
        ("2+1", 2, ((1, 0),)),
        ("1+3, 2, 4+5, 6", 6, ((0, 2), (1,), (3, 4), (5,))),
        ("L,C,R,Ls,Rs,LFE", 6, ((0, 2), (1,), (3, 4), (5,))),
        ("R,L", 2, ((1, 0),)),
    ],
)
def test_layouts(text: str, channels: int, layout: tuple[tuple[int, ...], ...]) -> None:
    assert parse_layout(text, channels) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1+2", "names 2 channels; the song has 6"),
        ("1+2,3,4,5+7,6", "each must be named once"),
        ("1+2,2,3,4,5,6", "each must be named once"),
        ("1+2+3,4,5,6", "two at most"),
        ("FL,FR,FC,LFE,BL,XX", "'XX' is unknown; give auto, mono"),
        ("L,R,L,C,LFE,S", "names a channel twice"),
        ("", "is unknown"),
        ("0+1,2,3,4,5", "each must be named once"),
    ],
)
def test_layouts_that_do_not_fit_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_layout(text, 6)


class Coupled(Shares):
    """Pairs are mid and side to it, so that what is seen together matters."""

    def forward(self, mixture: Tensor) -> Tensor:
        vocals = mixture.mean(1, keepdim=True).expand_as(mixture) * 0.5 if mixture.shape[1] == 2 else mixture * 0.1
        drums = mixture * 0.2 + 0.1 * mixture[:, :1] ** 2
        return torch.stack((drums, torch.zeros_like(mixture), mixture - drums - vocals, vocals), dim=1)


def _tiny() -> Engine:
    """An untrained network of two channels that sees them together."""
    recipe = Recipe(
        name="tiny",
        frontend=FrontendRecipe(n_fft=256, hop_length=64),
        generator=GeneratorRecipe(widths=(4, 4), head_width=4),
    )
    torch.manual_seed(0)
    return Engine(Separator(recipe).eval())


def test_permuting_channels_with_their_layout_permutes_the_stems() -> None:
    mixture = torch.from_numpy(noise(0.2, 44100, channels=6)).unsqueeze(0)
    engine = _tiny()
    stems = engine.separate(mixture, layout=parse_layout("auto", 6))
    assert torch.allclose(stems[:, :, 4:], engine.separate(mixture[:, 4:]), atol=SAME)
    order = [4, 0, 3, 1, 5, 2]  # BL FL LFE FR BR FC
    permuted = engine.separate(mixture[:, order], layout=parse_layout("BL,FL,LFE,FR,BR,FC", 6))
    assert torch.allclose(permuted, stems[:, :, order], atol=SAME)
    alone = engine.separate(mixture, layout=parse_layout("mono", 6))
    assert not torch.allclose(alone[:, :, 4:], stems[:, :, 4:], atol=1e-3)  # else layouts would mean nothing


def test_permuting_channels_that_are_alone_permutes_the_files(tmp_path: Path) -> None:
    mixture = noise(0.7, 44100, channels=4)
    order = [2, 0, 3, 1]
    options = SeparationOptions(channel_layout="mono", subtype="float32")
    songs = (write(tmp_path / "a.wav", mixture, 44100), write(tmp_path / "b.wav", mixture[order], 44100))
    one, other = (separate_file(Coupled(), song, tmp_path / "out", options=options) for song in songs)
    for stem, path in one.paths.items():
        assert np.array_equal(audio.read(path)[0][order], audio.read(other.paths[stem])[0])


def test_surround_nulls_and_its_layout_is_recorded(tmp_path: Path) -> None:
    mixture = noise(0.7, 48000, channels=6)
    result = separate_file(Coupled(), write(tmp_path / "song.wav", mixture, 48000), tmp_path / "out")
    assert dbfs(sum_of(result) - mixture) <= NULL_DBFS
    assert result.manifest.engine.layout == ((0, 1), (2,), (3,), (4, 5))
