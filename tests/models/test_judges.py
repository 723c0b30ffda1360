"""Discriminators: what each looks at, and one judgement per item, alone or in a batch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sepgan.errors import RecipeError
from sepgan.models import build_discriminator
from sepgan.models.judgement import Judgement, PerStem, Surroundings, compress
from sepgan.recipe import GeneratorRecipe
from sepgan.recipe.adversary import DiscriminatorRecipe

SAME_ALONE = 1e-5  # absolute difference of scores when an item is judged alone or in a batch
A_DIFFERENCE = 1e-4  # of scores, absolute: far above rounding
AROUND = Surroundings(4, 2, bands=40, generator=GeneratorRecipe(widths=(4, 8)))

BANDS, WAVES, STEMS, POINTS = (2, 40, 16), (2, 700), (4, 2, 40, 16), (5,)
NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "patch": (BANDS, {"kind": "patch", "widths": (8, 16)}),
    "patch, unconditional": (BANDS, {"kind": "patch", "widths": (8, 16), "conditional": False}),
    "patch, not told": (BANDS, {"kind": "patch", "widths": (8, 16), "labels": "none"}),
    "patch, one per stem": (BANDS, {"kind": "patch", "widths": (8, 16), "labels": "separate"}),
    "patch, flat": (BANDS, {"kind": "patch", "widths": (8, 16, 16), "flat_levels": 1}),
    "context": (STEMS, {"kind": "context", "widths": (8, 16)}),
    "context, unconditional": (STEMS, {"kind": "context", "widths": (8, 16), "conditional": False}),
    "stft": (WAVES, {"kind": "stft", "widths": (6,), "n_ffts": (128, 64)}),
    "stft, unconditional": (WAVES, {"kind": "stft", "widths": (6,), "n_ffts": (128, 64), "conditional": False}),
    "stft, one per stem": (WAVES, {"kind": "stft", "widths": (6,), "n_ffts": (128,), "labels": "separate"}),
    "encoder": (BANDS, {"kind": "encoder"}),
    "mlp": (POINTS, {"kind": "mlp", "widths": (8, 8)}),
}
CONDITIONAL = [
    "patch",
    "patch, not told",
    "patch, one per stem",
    "patch, flat",
    "context",
    "stft",
    "stft, one per stem",
]
TOLD = [
    "patch",
    "patch, unconditional",
    "patch, one per stem",
    "patch, flat",
    "stft",
    "stft, unconditional",
    "stft, one per stem",
]
LABEL = torch.tensor([0, 1, 3])


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    shape, settings = NETWORKS[name]
    around = AROUND._replace(dimensions=5) if shape == POINTS else AROUND
    network = build_discriminator(DiscriminatorRecipe(**settings), around)
    for module in network.modules():  # labels start as small as any weight; here they must be seen
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=3.0)
    return network.eval()  # spectral norm refines its estimate only in training


def stems(name: str, seed: int, items: int = 3) -> Tensor:
    values = torch.randn(items, *NETWORKS[name][0], generator=torch.Generator().manual_seed(seed))
    return 0.1 * values if NETWORKS[name][0] == WAVES else 5 * values.abs()


def mixtures(name: str, seed: int, items: int = 3) -> Tensor:
    values = stems(name, seed, items)
    return values.sum(1) if NETWORKS[name][0] == STEMS else 2 * values


def difference(one: Judgement, other: Judgement) -> float:
    """The largest change of any judgement on an item, of the item that changes least."""
    changes = [(a - b).detach().abs().flatten(1).amax(1) for a, b in zip(one.scores, other.scores, strict=True)]
    return float(torch.stack(changes).amax(0).min())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_the_score_depends_on(name: str) -> None:
    """On the stem always; on mixture and label exactly where the recipe says so; each item by itself."""
    network = build(name)
    judged = network(mixtures(name, 0), stems(name, 1), LABEL)
    assert judged.item_scores().shape == (3,)
    assert difference(judged, network(mixtures(name, 0), stems(name, 2), LABEL)) > A_DIFFERENCE
    by_mixture = difference(judged, network(mixtures(name, 2), stems(name, 1), LABEL))
    by_label = difference(judged, network(mixtures(name, 0), stems(name, 1), (LABEL + 1) % 4))
    assert (by_mixture > A_DIFFERENCE) == (name in CONDITIONAL), by_mixture
    assert (by_label > A_DIFFERENCE) == (name in TOLD), by_label


@pytest.mark.parametrize("name", NETWORKS)
def test_an_item_is_judged_the_same_alone_and_in_a_batch(name: str) -> None:
    network = build(name)
    together = network(mixtures(name, 0), stems(name, 1), LABEL)
    for item in range(3):
        alone = network(mixtures(name, 0)[item][None], stems(name, 1)[item][None], LABEL[item][None])
        for whole, part in zip((*together.scores, *together.features), (*alone.scores, *alone.features), strict=True):
            assert float((whole[item] - part[0]).detach().abs().max()) <= SAME_ALONE


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "encoder"])
def test_they_hold_no_statistics_of_batches(name: str) -> None:
    buffers = [key for key, _ in build(name).named_buffers()]
    assert all("parametrizations.weight" in key or key.endswith("window") for key in buffers)


@pytest.mark.parametrize("name", NETWORKS)
def test_silence_has_a_finite_gradient(name: str) -> None:
    silence = torch.zeros(3, *NETWORKS[name][0]).requires_grad_(True)
    build(name)(0 * mixtures(name, 0), silence, LABEL).item_scores().sum().backward()
    assert silence.grad is not None
    assert bool(torch.isfinite(silence.grad).all())


def test_scores_of_a_patch_network_are_patches() -> None:
    assert [scores.shape for scores in build("patch")(mixtures("patch", 0), stems("patch", 1), LABEL).scores] == [
        (3, 1, 10, 4)
    ]
    flat = build("patch, flat")(mixtures("patch, flat", 0), stems("patch, flat", 1), LABEL).scores
    assert flat[0].shape == (3, 1, 9, 3)


@pytest.mark.parametrize(("bands", "frames"), [(37, 9), (16, 4), (101, 33)])
def test_odd_sizes(bands: int, frames: int) -> None:
    judged = build("patch")(torch.rand(2, 2, bands, frames), torch.rand(2, 2, bands, frames), LABEL[:2])
    assert judged.scores[0].shape == (2, 1, bands // 4, frames // 4)


def test_mono() -> None:
    network = build_discriminator(DiscriminatorRecipe(widths=(8,)), Surroundings(stems=2, channels=1))
    judged = network(torch.rand(1, 1, 20, 8), torch.rand(1, 1, 20, 8), torch.tensor([1]))
    assert judged.scores[0].shape == (1, 1, 10, 4)


def test_scores_of_the_stft_network_have_one_scale_a_transform() -> None:
    """700 samples at hops of 32 and 16: 22 and 44 frames; 65 and 33 bins halved three times."""
    judged = build("stft")(mixtures("stft", 0), stems("stft", 1), LABEL)
    assert [scores.shape[1:] for scores in judged.scores] == [(1, 9, 22), (1, 5, 44)]


def test_the_stft_network_hears_phase() -> None:
    """The same magnitudes with another phase get another score: a shift by half a hop, where magnitudes hardly move."""
    network = build("stft, unconditional")
    tone = torch.sin(torch.arange(700) * 2 * torch.pi * 8 / 128).expand(1, 2, -1)
    scores = [network(None, sign * tone, LABEL[:1]).item_scores() for sign in (1.0, -1.0)]
    assert float((scores[0] - scores[1]).detach().abs()) > A_DIFFERENCE


def test_networks_per_stem_share_nothing() -> None:
    network = build("patch, one per stem")
    assert isinstance(network, PerStem)
    network(mixtures("patch", 0), stems("patch", 1), torch.tensor([2, 2, 2])).item_scores().sum().backward()
    used = [any(weight.grad is not None for weight in part.parameters()) for part in network.networks]
    assert used == [False, False, True, False]


@pytest.mark.parametrize(
    ("activation", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("energy", -1e9, 0), ("none", -1e9, 1e9)]
)
def test_activations_bound_the_score(activation: str, low: float, high: float) -> None:
    settings = {"widths": (8,), "spectral_norm": False, "activation": activation}
    network = build_discriminator(DiscriminatorRecipe.model_validate(settings), AROUND)
    scores = network(mixtures("patch", 0), 1e3 * stems("patch", 1), LABEL).scores[0].detach()
    assert low <= float(scores.min()) <= float(scores.max()) <= high


def test_spectral_norm_bounds_the_slope() -> None:
    """Each layer of a point network has a largest singular value near 1, so the score is nearly 1-Lipschitz."""
    torch.manual_seed(0)
    steep = Surroundings(1, 1, dimensions=5)
    slopes = {}
    for normed in (True, False):
        network = build_discriminator(DiscriminatorRecipe(kind="mlp", widths=(64, 64), spectral_norm=normed), steep)
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(10.0)
        for _ in range(20):  # the power iteration goes on step by step
            at = stems("mlp", 3).requires_grad_(True)
            score = network(None, at, None).scores[0].sum()
        (gradient,) = torch.autograd.grad(score, at)
        slopes[normed] = float(gradient.norm(dim=1).max())
    assert slopes[True] <= 1.2
    assert slopes[False] > 10


def test_compression_keeps_its_slope_at_zero() -> None:
    magnitudes = torch.zeros(1, requires_grad=True)
    (slope,) = torch.autograd.grad(compress(magnitudes, 0.3).sum(), magnitudes)
    assert 0 < float(slope) < 1e3


@pytest.mark.parametrize(
    ("settings", "around", "message"),
    [
        ({"kind": "judge"}, AROUND, r"adversary.kind 'judge' is unknown: choose one of context, encoder, mlp, patch"),
        ({"kind": "mlp"}, AROUND, "'mlp' judges points of a toy"),
        ({"kind": "patch"}, AROUND._replace(dimensions=2), "adversary.kind 'patch' does not fit"),
        ({"kind": "encoder"}, AROUND._replace(generator=None), "'encoder' has the shape of generator.kind 'classic'"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], around: Surroundings, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_discriminator(DiscriminatorRecipe(**settings), around)
