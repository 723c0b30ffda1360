"""The patch discriminator: conditional on mixture and label, and one judgement per item."""

import pytest
import torch
from torch import Tensor

from sepgan.errors import RecipeError
from sepgan.models import build_discriminator
from sepgan.models.patch import PatchDiscriminator
from sepgan.recipe import AdversaryRecipe

SAME_ALONE = 1e-5  # absolute difference of scores when an item is judged alone or in a batch
A_DIFFERENCE = 1e-3  # of scores, absolute: far above rounding


@pytest.fixture
def judge() -> PatchDiscriminator:
    torch.manual_seed(0)
    network = PatchDiscriminator(AdversaryRecipe(widths=(8, 16)), stems=4, channels=2)
    return network.eval()  # spectral norm refines its estimate only in training


def magnitudes(seed: int, items: int = 3) -> Tensor:
    return 5 * torch.rand(items, 2, 40, 16, generator=torch.Generator().manual_seed(seed))


def test_scores_are_patches(judge: PatchDiscriminator) -> None:
    assert judge(magnitudes(0), magnitudes(1), torch.tensor([0, 1, 3])).shape == (3, 1, 10, 4)


@pytest.mark.parametrize(("bands", "frames"), [(37, 9), (16, 4), (101, 33)])
def test_odd_sizes(judge: PatchDiscriminator, bands: int, frames: int) -> None:
    scores = judge(torch.rand(2, 2, bands, frames), torch.rand(2, 2, bands, frames), torch.tensor([0, 1]))
    assert scores.shape == (2, 1, bands // 4, frames // 4)


def test_mono() -> None:
    network = PatchDiscriminator(AdversaryRecipe(widths=(8,)), stems=2, channels=1)
    assert network(torch.rand(1, 1, 20, 8), torch.rand(1, 1, 20, 8), torch.tensor([1])).shape == (1, 1, 10, 4)


def test_the_score_depends_on_stem_mixture_and_label(judge: PatchDiscriminator) -> None:
    label = torch.tensor([0, 0, 0])
    score = judge(magnitudes(0), magnitudes(1), label)
    for other in (
        judge(magnitudes(0), magnitudes(2), label),
        judge(magnitudes(2), magnitudes(1), label),
        judge(magnitudes(0), magnitudes(1), label + 1),
    ):
        assert float((score - other).detach().abs().mean()) > A_DIFFERENCE


def test_an_item_is_judged_the_same_alone_and_in_a_batch(judge: PatchDiscriminator) -> None:
    label = torch.tensor([0, 1, 2])
    together = judge(magnitudes(0), magnitudes(1), label)
    alone = judge(magnitudes(0)[1:2], magnitudes(1)[1:2], label[1:2])
    assert float((together[1:2] - alone).detach().abs().max()) <= SAME_ALONE


def test_it_holds_no_statistics_of_batches(judge: PatchDiscriminator) -> None:
    buffers = [name for name, _ in judge.named_buffers()]
    assert all("parametrizations.weight" in name for name in buffers), "only the vectors of the spectral norm"
    judge.train()
    judge(magnitudes(0), magnitudes(1), torch.tensor([0, 1, 2]))  # the first pass settles the spectral norm
    judge.eval()
    before = judge(magnitudes(0), magnitudes(1), torch.tensor([0, 1, 2]))
    assert torch.equal(before, judge(magnitudes(0), magnitudes(1), torch.tensor([0, 1, 2])))


def test_silence_has_a_finite_gradient(judge: PatchDiscriminator) -> None:
    silence = torch.zeros(1, 2, 40, 16, requires_grad=True)
    judge(torch.zeros(1, 2, 40, 16), silence, torch.tensor([0])).sum().backward()
    assert silence.grad is not None
    assert bool(torch.isfinite(silence.grad).all())


def test_an_unknown_discriminator_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"adversary.kind 'judge' is unknown: choose one of .*patch"):
        build_discriminator(AdversaryRecipe(kind="judge"), 4, 2)
