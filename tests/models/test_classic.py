"""The classic U-Net: shapes, masks, and that it learns."""

from typing import Any

import pytest
import torch

from sepgan.errors import RecipeError
from sepgan.models import build_generator
from sepgan.models.classic import ClassicUNet
from sepgan.recipe import GeneratorRecipe

SUM_OF_MASKS = 1e-5  # absolute
SAME_ALONE = 1e-5  # absolute difference of masks when an item is computed alone or in a batch


def make(stems: int = 4, bands: int = 40, **keys: Any) -> ClassicUNet:
    torch.manual_seed(0)
    config = GeneratorRecipe(**{"widths": (8, 12, 16), "head_width": 8, "dropout": 0.0, **keys})
    return ClassicUNet(config, stems, bands)


def magnitudes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 10


@pytest.mark.parametrize("downsample", ["stride", "pool"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("bands", "frames"), [(40, 16), (37, 1), (33, 9), (17, 31)])
def test_masks_have_the_size_of_the_input_and_sum_to_one(
    downsample: str, channels: int, bands: int, frames: int
) -> None:
    network = make(bands=bands, channels=channels, downsample=downsample).eval()
    masks = network(magnitudes(2, channels, bands, frames)).detach()
    assert masks.shape == (2, 4, channels, bands, frames)
    assert float(masks.min()) >= 0.0
    assert float(masks.max()) <= 1.0
    assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS


@pytest.mark.parametrize("stems", [1, 2, 5])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_any_number_of_stems_and_kernel(stems: int, kernel: int) -> None:
    assert make(stems=stems, kernel=kernel).eval()(magnitudes(1, 2, 40, 8)).shape == (1, stems, 2, 40, 8)


def test_one_level_is_a_network_too() -> None:
    assert make(widths=(8,)).eval()(magnitudes(1, 2, 40, 5)).shape == (1, 4, 2, 40, 5)


def test_silence_gives_finite_masks() -> None:
    assert bool(torch.isfinite(make().eval()(torch.zeros(1, 2, 40, 8))).all())


def test_an_item_is_judged_the_same_alone_and_in_a_batch_once_trained() -> None:
    network = make().eval()
    batch = magnitudes(3, 2, 40, 16)
    assert float((network(batch)[1:2] - network(batch[1:2])).detach().abs().max()) <= SAME_ALONE


def test_dropout_is_on_only_in_training_and_only_in_the_levels_asked_for() -> None:
    network = make(dropout=0.5, dropout_levels=2)
    rates = [layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout2d)]
    assert rates == [0.5, 0.5, 0.0]
    x = magnitudes(2, 2, 40, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_the_input_is_left_as_it_was() -> None:
    x = magnitudes(2, 2, 40, 16)
    before = x.clone()
    make()(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("downsample", ["stride", "pool"])
def test_it_overfits_one_batch(downsample: str) -> None:
    """Four stems in bands of their own: the error must fall to a tenth of that of equal masks."""
    network = make(downsample=downsample)
    mixture = magnitudes(2, 2, 40, 16) + 0.1
    owner = torch.arange(40) * 4 // 40
    targets = torch.stack([mixture * (owner == stem)[:, None] for stem in range(4)], dim=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (network(mixture) * mixture[:, None] - targets).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    equal_masks = float((mixture[:, None] / 4 - targets).abs().mean())
    assert losses[-1] <= 0.1 * equal_masks


def test_every_weight_gets_a_gradient() -> None:
    network = make()
    (network(magnitudes(2, 2, 40, 16))[:, 0]).sum().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert without == []


def test_weights_keep_the_names_that_checkpoints_hold() -> None:
    names = {name.rpartition(".")[0] for name in make().state_dict()}
    assert {"normalise", "encoder.0.0", "encoder.2.1", "decoder.0.0", "decoder.2.1", "head"} <= names
    assert not any("position" in name for name in make().state_dict())


def test_an_unknown_generator_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"generator.kind 'modern' is unknown: choose one of .*classic"):
        build_generator(GeneratorRecipe(kind="modern"), 4, 40)
