"""The branched U-Net: shapes, masks, no statistics of a batch, and its start as a network of Spleeter."""

from typing import Any

import pytest
import torch

from sepgan.errors import CheckpointError, RecipeError
from sepgan.models import build_generator
from sepgan.models.branched import FRAMES_AT_ONCE, BranchedUNet
from sepgan.models.branched_start import begin_as
from sepgan.models.spleeter import SpleeterUNet
from sepgan.recipe import GeneratorRecipe

SUM_OF_MASKS = 1e-5  # absolute
SAME_ALONE = 1e-5  # absolute difference of masks when an item is computed alone or in a batch
ROUNDING = 1e-5  # absolute difference of masks that are computed in parts
SAME_NETWORK = 1e-4  # absolute difference of masks of stems that begin alike
EXPLAINED = 0.85  # share of the variance of the other network's gain; a constant mask explains nothing
WIDTHS = (4, 6, 8, 12)


def make(stems: int = 4, **keys: Any) -> BranchedUNet:
    torch.manual_seed(0)
    config = GeneratorRecipe(
        **{"kind": "branched", "widths": WIDTHS, "bottleneck": 10, "branches": (3, 1), "dropout": 0.0} | keys
    )
    network = build_generator(config, stems, 64)
    assert isinstance(network, BranchedUNet)
    return network


def magnitudes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 10


def theirs() -> SpleeterUNet:
    torch.manual_seed(1)
    network = SpleeterUNet(2, (*WIDTHS, 16)).eval()
    for normalise in [*network.down_normalise, *network.up_normalise]:
        torch.nn.init.uniform_(normalise.weight, 0.5, 1.5)
        torch.nn.init.uniform_(normalise.bias, -0.5, 0.5)
    return network


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("bands", "frames"), [(64, 32), (37, 1), (33, 9)])
def test_masks_have_the_size_of_the_input_and_sum_to_one(channels: int, bands: int, frames: int, full: bool) -> None:
    network = make(channels=channels, full_resolution=full)
    masks = network(magnitudes(2, channels, bands, frames)).detach()
    assert masks.shape == (2, 4, channels, bands, frames)
    assert float(masks.min()) >= 0.0
    assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("inference", [False, True])
def test_some_frames_are_those_of_all(full: bool, inference: bool) -> None:
    """Also where the last levels are made in several tiles, which lie elsewhere then."""
    network, x = make(full_resolution=full).eval(), magnitudes(1, 2, 40, 700)
    with torch.inference_mode(inference), torch.no_grad():
        whole = network(x)
        for frames in (slice(0, 700), slice(0, 1), slice(699, 700), slice(3, 5), slice(130, 600), slice(257, 258)):
            part = network.some(x, frames)
            assert part.shape[-1] == frames.stop - frames.start
            assert float((part - whole[..., frames]).abs().max()) <= SAME_ALONE


def test_an_item_is_judged_the_same_alone_and_in_a_batch_even_while_training() -> None:
    network = make().train()
    batch = magnitudes(3, 2, 64, 32)
    assert float((network(batch)[1:2] - network(batch[1:2])).detach().abs().max()) <= SAME_ALONE


def test_all_stems_in_one_branch_is_the_default() -> None:
    assert len(make(branches=()).branches) == 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("stems", "branches"), [(2, (1,)), (4, (3,)), (4, (2, 1))])
def test_a_first_stem_without_a_branch_takes_the_rest(stems: int, branches: tuple[int, ...], full: bool) -> None:
    """Its logit is 0: a head whose logits are 0 too gives equal shares, and one that is sure leaves nothing."""
    network = make(stems, branches=branches, full_resolution=full).eval()
    x = magnitudes(1, 2, 64, 32)
    for bias, expected in ((0.0, 1 / stems), (30.0, 0.0), (-30.0, 1.0)):
        for head in network.heads:
            torch.nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            torch.nn.init.constant_(head.bias, bias)  # type: ignore[arg-type]
        with torch.no_grad():
            masks = network(x)
        with torch.inference_mode():
            quick = network(x)
        assert masks.shape == quick.shape == (1, stems, 2, 64, 32)
        assert float((masks[:, 0] - expected).abs().max()) <= SUM_OF_MASKS
        assert float((masks - quick).abs().max()) <= ROUNDING
        assert float((masks.sum(1) - 1).abs().max()) <= SUM_OF_MASKS


@pytest.mark.parametrize(
    "keys",
    [
        {"branches": (3, 2)},
        {"branches": (2,)},
        {"branches": (2, 1), "nested": True},
        {"widths": (4, 6)},
        {"branches": (), "nested": True},
    ],
)
def test_what_cannot_be_built_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="generator"):
        make(**keys)


@pytest.mark.parametrize(
    "keys", [{}, {"branches": (3, 1), "nested": True}, {"branches": (1, 2, 1), "nested": True}, {"branches": (2, 1)}]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("frames", [3, FRAMES_AT_ONCE, 2 * FRAMES_AT_ONCE + 5])
def test_made_some_frames_at_a_time_masks_are_the_same(keys: dict[str, Any], full: bool, frames: int) -> None:
    network = make(full_resolution=full, **keys).eval()
    x = magnitudes(2, 2, 63, frames)
    with torch.no_grad():
        whole = network(x)
    with torch.inference_mode():
        in_parts = network(x)
    torch.testing.assert_close(in_parts, whole, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(whole.sum(1), torch.ones_like(whole[:, 0]), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("full", [False, True])
def test_it_overfits_one_batch(full: bool) -> None:
    network = make(full_resolution=full)
    x = magnitudes(1, 2, 32, 32)
    wanted = torch.softmax(4 * torch.randn(1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(2)), 1)
    wanted = wanted.repeat_interleave(4, -1).repeat_interleave(4, -2)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = (network(x) - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_with_room_for_all_features_the_last_stem_begins_close_to_the_other_network() -> None:
    network, other, x = make(bottleneck=16), theirs(), magnitudes(1, 2, 64, 64)
    kept = begin_as(network, other, [magnitudes(8, 2, 64, 128, seed=3)])
    assert kept == pytest.approx(1.0, abs=1e-6)
    masks, wanted = network(x).detach(), other(x).detach()
    assert float((masks[:, -1] - wanted).var() / wanted.var()) <= 1 - EXPLAINED
    spread = masks[:, :-1] - masks[:, :1]
    assert float(spread.abs().max()) <= SAME_NETWORK  # the others share the rest


@pytest.mark.parametrize(("width", "stems", "branches"), [(4, 4, (3, 1)), (8, 4, (3, 1)), (8, 2, (1,))])
def test_at_the_full_resolution_it_begins_as_the_other_network_itself(
    width: int, stems: int, branches: tuple[int, ...]
) -> None:
    network = make(stems, bottleneck=16, full_resolution=True, head_width=width, branches=branches)
    other, x = theirs(), magnitudes(1, 2, 64, 64)
    begin_as(network, other, [magnitudes(2, 2, 64, 128, seed=3)])
    assert float((network(x)[:, -1] - other(x)).detach().abs().max()) <= SAME_NETWORK


def test_fewer_features_keep_less() -> None:
    music = [magnitudes(2, 2, 64, 128, seed=3)]
    kept = [begin_as(make(bottleneck=size), theirs(), music) for size in (2, 6, 12)]
    assert 0 < kept[0] < kept[1] < kept[2] <= 1 + 1e-9


@pytest.mark.parametrize("keys", [{"widths": (4, 6, 8)}, {"branches": (1, 3)}])
def test_a_start_that_does_not_fit_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="cannot begin"):
        begin_as(make(**keys), theirs(), [magnitudes(1, 2, 64, 64)])


@pytest.mark.parametrize("full", [False, True])
def test_nested_masks_of_one_branch_do_not_move_those_of_the_other(full: bool) -> None:
    network = make(full_resolution=full, branches=(3, 1), nested=True)
    x = magnitudes(1, 2, 64, 32)
    with torch.no_grad():
        before = network(x)
        for weight in [*network.branches[0].parameters(), *network.heads[0].parameters()]:
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
        after = network(x)
    torch.testing.assert_close(after.sum(1), torch.ones_like(after[:, 0]), rtol=0, atol=SUM_OF_MASKS)
    torch.testing.assert_close(after[:, 3], before[:, 3], rtol=0, atol=ROUNDING)
    assert float((after[:, 0] - before[:, 0]).abs().max()) > 0.01
