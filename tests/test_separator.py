"""The separator: stems that null for any input, and a file that gives the same separator back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError
from sepgan.recipe import Recipe, from_dict, to_dict
from sepgan.separator import Separator

NULL_DB = -100.0  # energy of (sum of stems - mixture), relative to the mixture
SAME_STEMS_DB = -100.0  # one computation in another order


def make_recipe(**keys: Any) -> Recipe:
    return from_dict(
        {
            "name": "tiny",
            "frontend": {"n_fft": 512, "hop_length": 128, "bins": 100},
            "generator": {"widths": [8, 12], "head_width": 8},
            **keys,
        }
    )


def make(**keys: Any) -> Separator:
    torch.manual_seed(0)
    return Separator(make_recipe(**keys)).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error_db(wanted: Tensor, got: Tensor) -> float:
    ratio = (wanted - got).double().square().sum() / wanted.double().square().sum()
    return float(10 * torch.log10(ratio.clamp_min(1e-30)))


MEL = {"n_fft": 1024, "hop_length": 256, "mel_bands": 48}


@pytest.mark.parametrize("frontend", [{"n_fft": 512, "hop_length": 128, "bins": 100}, MEL], ids=["linear", "mel"])
@pytest.mark.parametrize("width", [1, 2])
@torch.no_grad()
def test_stems_sum_to_the_mixture(frontend: dict[str, int], width: int) -> None:
    separator = make(frontend=frontend, generator={"widths": [8, 12], "head_width": 8, "channels": width})
    for channels in (1, 2, 3, 6):
        for samples in (1, 2, 127, 4097):
            mixture = noise(2, channels, samples)
            stems = separator(mixture)
            assert stems.shape == (2, 4, channels, samples)
            assert error_db(mixture, stems.sum(1)) <= NULL_DB


@torch.no_grad()
def test_silence_stays_silent() -> None:
    assert float(make()(torch.zeros(1, 2, 2000)).abs().max()) == 0.0


@torch.no_grad()
def test_permuting_channels_permutes_the_stems() -> None:
    separator, mixture = make(), noise(1, 3, 3000)
    order = [2, 0, 1]
    assert error_db(separator(mixture)[:, :, order], separator(mixture[:, order])) <= SAME_STEMS_DB


@torch.no_grad()
def test_a_third_channel_is_separated_as_it_would_be_alone() -> None:
    separator, mixture = make(), noise(1, 3, 3000)
    assert error_db(separator(mixture)[:, :, 1:2], separator(mixture[:, 1:2])) <= SAME_STEMS_DB


@torch.no_grad()
def test_a_batch_is_separated_item_by_item() -> None:
    separator, mixture = make(), noise(3, 2, 3000)
    assert error_db(separator(mixture)[1:2], separator(mixture[1:2])) <= SAME_STEMS_DB


def test_the_mixture_is_left_as_it_was() -> None:
    mixture = noise(1, 2, 1000)
    before = mixture.clone()
    make()(mixture)
    assert torch.equal(mixture, before)


def save(separator: Separator, path: Path, **keys: Any) -> Path:
    plain: dict[str, Any] = {
        "name": "tiny",
        "stems": separator.stems,
        "sample_rate": separator.sample_rate,
        "recipe": to_dict(separator.recipe),
        "licence": "CC0 1.0",
    }
    checkpoint.write(path, CheckpointHeader.model_validate(plain | keys), separator.generator.state_dict())
    return path


@torch.no_grad()
def test_a_file_gives_back_the_same_separator(tmp_path: Path) -> None:
    separator, mixture = make(stems=["other", "vocals"]), noise(1, 2, 3000)
    loaded = Separator.load(save(separator, tmp_path / "tiny.safetensors"))
    assert loaded.recipe == separator.recipe
    assert loaded.stems == ("other", "vocals")
    assert not loaded.training
    assert loaded.header is not None
    assert loaded.header.licence == "CC0 1.0"
    assert torch.equal(loaded(mixture), separator(mixture))


@torch.no_grad()
def test_weights_of_16_bits_are_computed_with_in_32(tmp_path: Path) -> None:
    separator = make()
    path = tmp_path / "half.safetensors"
    header = CheckpointHeader(
        name="half", stems=separator.stems, sample_rate=44100, recipe=to_dict(separator.recipe), licence=""
    )
    weights = {k: v.half() if v.is_floating_point() else v for k, v in separator.generator.state_dict().items()}
    checkpoint.write(path, header, weights)
    loaded = Separator.load(path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert error_db(separator(noise(1, 2, 3000)), loaded(noise(1, 2, 3000))) <= -40.0


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wider = to_dict(make_recipe(generator={"widths": [8, 16], "head_width": 8}))
    deeper = to_dict(make_recipe(generator={"widths": [8, 12, 12], "head_width": 8}))
    for other in (wider, deeper):
        path = save(make(), tmp_path / "wrong.safetensors", recipe=other)
        with pytest.raises(CheckpointError, match=r"wrong.safetensors' does not fit this version of sepgan") as caught:
            Separator.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {"kind": "of the future"}},
        {"novelty": 1},
        {"frontend": {"n_fft": 512, "hop_length": 128, "mel_bands": 200}},
    ],
    ids=["kind", "key", "mel"],
)
def test_a_recipe_of_another_version_inside_a_model_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save(make(), tmp_path / "wrong.safetensors", recipe=to_dict(make_recipe()) | change)
    with pytest.raises(CheckpointError, match="does not fit this version of sepgan"):
        Separator.load(path)


def test_a_missing_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="model 'no such model' not found"):
        Separator.load("no such model")


def test_what_lies_outside_the_band_goes_to_other_or_to_the_last() -> None:
    assert make().residual_stem == "other"
    assert make(stems=["vocals", "accompaniment"]).residual_stem == "accompaniment"


def test_segments_fill_the_grid_of_the_network() -> None:
    separator = make()
    for samples in (separator.segment, separator.excerpt_samples(0.5), separator.excerpt_samples(0.0)):
        assert (samples // 128 + 1) % 4 == 0
    assert abs(separator.segment - 10 * 44100) <= 4 * 128
    assert separator.overlap >= sum(separator.context) > 0
    hop = separator.segment - separator.overlap
    assert hop % (4 * 128) == 0  # neighbours lie on one grid
    assert 2 * separator.overlap <= separator.segment
