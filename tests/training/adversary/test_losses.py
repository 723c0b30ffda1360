"""GAN losses against formulas written out with logarithms, their signs, and a discriminator that has collapsed."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sepgan.recipe.adversary import GAN_LOSSES
from sepgan.training.adversary.losses import LOSSES, Constants

SAME = 1e-12  # absolute, in float64
NEAR = 1e-6  # absolute, in float32
NAMES = sorted(LOSSES)
LOG_2 = math.log(2)


def scores(seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def fit(name: str, values: Tensor) -> Tensor:
    """Scores as the activation that the loss expects would give them."""
    return -functional.softplus(-values) if "energy" in GAN_LOSSES[name].activations else values


def sigma(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


Side = Callable[[Tensor, Tensor], Tensor]
# Written as printed in the papers, not as they are computed.
REFERENCES: dict[str, tuple[Side, Side]] = {
    "minimax": (
        lambda r, f: -(sigma(r).log().mean() + (1 - sigma(f)).log().mean()),
        lambda r, f: (1 - sigma(f)).log().mean(),
    ),
    "non_saturating": (
        lambda r, f: (
            functional.binary_cross_entropy_with_logits(r, torch.ones_like(r))
            + functional.binary_cross_entropy_with_logits(f, torch.zeros_like(f))
        ),
        lambda r, f: functional.binary_cross_entropy_with_logits(f, torch.ones_like(f)),
    ),
    "least_squares": (
        lambda r, f: 0.5 * functional.mse_loss(r, torch.ones_like(r)) + 0.5 * functional.mse_loss(f, 0 * f),
        lambda r, f: 0.5 * functional.mse_loss(f, torch.ones_like(f)),
    ),
    "hinge": (
        lambda r, f: -torch.minimum(0 * r, r - 1).mean() - torch.minimum(0 * f, -f - 1).mean(),
        lambda r, f: -f.mean(),
    ),
    "margin": (
        lambda r, f: (-r).mean() + torch.maximum(0 * f, 1 - (-f)).mean(),
        lambda r, f: (-f).mean(),
    ),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "wasserstein_gp": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "relativistic_average": (
        lambda r, f: -sigma(r - f.mean()).log().mean() - (1 - sigma(f - r.mean())).log().mean(),
        lambda r, f: -sigma(f - r.mean()).log().mean() - (1 - sigma(r - f.mean())).log().mean(),
    ),
    "relativistic_pairing": (lambda r, f: -sigma(r - f).log().mean(), lambda r, f: -sigma(f - r).log().mean()),
    "textbook": (
        lambda r, f: (-0.5 * (sigma(r) + 1).log() - 0.5 * (sigma(-f) + 1).log()).mean(),
        lambda r, f: (-0.5 * (sigma(f) + 1).log() - 0.5 * (sigma(-r) + 1).log()).mean(),
    ),
}


def test_recipe_and_code_know_the_same_losses() -> None:
    assert set(LOSSES) == set(GAN_LOSSES) == set(REFERENCES)


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_are_the_printed_formulas(name: str) -> None:
    real, fake = fit(name, scores(0, 0.7)), fit(name, scores(1, -0.4))
    discriminator, generator = REFERENCES[name]
    loss = LOSSES[name]
    assert float(loss.discriminator(real, fake, Constants())) == pytest.approx(
        float(discriminator(real, fake)), abs=SAME
    )
    assert float(loss.generator(real, fake)) == pytest.approx(float(generator(real, fake)), abs=SAME)


@pytest.mark.parametrize("name", NAMES)
def test_signs(name: str) -> None:
    """The discriminator raises real scores and lowers generated ones; the generator raises its own."""
    real, fake = (fit(name, scores(seed, 0.1)).detach().requires_grad_(True) for seed in (0, 1))
    up, down = torch.autograd.grad(LOSSES[name].discriminator(real, fake, Constants()), (real, fake))
    assert float(up.sum()) < 0 < float(down.sum())
    (own,) = torch.autograd.grad(LOSSES[name].generator(real.detach(), fake), fake)
    assert float(own.sum()) < 0


@pytest.mark.parametrize("name", NAMES)
def test_telling_apart_is_rewarded(name: str) -> None:
    low, high = fit(name, torch.full((4,), -3.0)), fit(name, torch.full((4,), 3.0))
    loss = LOSSES[name]
    assert float(loss.discriminator(high, low, Constants())) < float(loss.discriminator(low, high, Constants()))
    assert float(loss.generator(high, high)) < float(loss.generator(high, low))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("minimax", 2 * LOG_2, -LOG_2),
        ("non_saturating", 2 * LOG_2, LOG_2),
        ("least_squares", 0.5, 0.5),
        ("hinge", 2.0, 0.0),
        ("margin", 1.0, 0.0),
        ("wasserstein", 0.0, 0.0),
        ("wasserstein_gp", 0.0, 0.0),
        ("relativistic_average", 2 * LOG_2, 2 * LOG_2),
        ("relativistic_pairing", LOG_2, LOG_2),
        ("textbook", -math.log(1.5), -math.log(1.5)),
    ],
)
def test_a_discriminator_that_says_zero_to_all(name: str, discriminator: float, generator: float) -> None:
    """Collapsed: the same score for everything. Each loss has a known value there, and finite gradients."""
    real, fake = torch.zeros(6, requires_grad=True), torch.zeros(6, requires_grad=True)
    loss = LOSSES[name]
    value = loss.discriminator(real, fake, Constants())
    assert float(value.detach()) == pytest.approx(discriminator, abs=NEAR)
    assert float(loss.generator(real, fake).detach()) == pytest.approx(generator, abs=NEAR)
    for gradient in torch.autograd.grad(value, (real, fake)):
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [60.0, 1e4])
def test_they_stay_finite_far_from_zero(name: str, size: float) -> None:
    """A logarithm of a rounded zero used to end runs; float32 as in training."""
    for sign in (1.0, -1.0):
        real, fake = torch.full((3,), -sign * size), torch.full((3,), sign * size, requires_grad=True)
        loss = LOSSES[name]
        for value in (loss.discriminator(real, fake, Constants()), loss.generator(real, fake)):
            (gradient,) = torch.autograd.grad(value, fake)
            assert math.isfinite(float(value.detach()))
            assert bool(torch.isfinite(gradient).all())


def test_the_saturating_generator_learns_nothing_where_the_other_learns_most() -> None:
    found_out = torch.full((1,), -12.0, requires_grad=True)
    slopes = {}
    for name in ("minimax", "non_saturating", "textbook"):
        (gradient,) = torch.autograd.grad(LOSSES[name].generator(found_out.detach(), found_out), found_out)
        slopes[name] = abs(float(gradient))
    assert slopes["non_saturating"] == pytest.approx(1.0, abs=1e-4)
    assert max(slopes["minimax"], slopes["textbook"]) < 1e-5


def test_what_is_wrong_with_the_textbook_pair() -> None:
    """Bounded by 0 and log 2 in all it says, with a slope of at most 0.086, and none where it is sure and wrong."""
    grid = torch.linspace(-30, 30, 6001, dtype=torch.float64, requires_grad=True)
    loss = LOSSES["textbook"]
    values = torch.stack([loss.discriminator(value, torch.zeros(1), Constants()) for value in grid.unbind()])
    (slope,) = torch.autograd.grad(values.sum(), grid)
    assert float(slope.abs().max()) == pytest.approx((3 - 2 * math.sqrt(2)) / 2, abs=1e-6)
    sure_and_wrong = (torch.full((1,), -30.0), torch.full((1,), 30.0))
    assert float(loss.discriminator(*sure_and_wrong, Constants())) == pytest.approx(0.0, abs=NEAR)
    assert abs(float(slope[0])) < 1e-12


def test_smoothing_moves_the_best_score_of_real_examples_only() -> None:
    """With label 0.9 the best score is logit(0.9), or 0.9 for least squares, and generated ones are as before."""
    fake = torch.tensor([-2.0])
    for name, best in (("non_saturating", math.log(9)), ("minimax", math.log(9)), ("least_squares", 0.9)):
        grid = torch.linspace(-3, 5, 8001)
        values = torch.stack([LOSSES[name].discriminator(value, fake, Constants(real_label=0.9)) for value in grid])
        assert float(grid[values.argmin()]) == pytest.approx(best, abs=2e-3)
        hard, soft = (LOSSES[name].discriminator(torch.zeros(1), fake, Constants(real_label=y)) for y in (1.0, 0.9))
        shift = LOSSES[name].discriminator(torch.zeros(1), fake + 1, Constants(real_label=0.9)) - soft
        other = LOSSES[name].discriminator(torch.zeros(1), fake + 1, Constants()) - hard
        assert float(shift) == pytest.approx(float(other), abs=NEAR)


def test_the_margin_frees_energies_beyond_it() -> None:
    fake = torch.tensor([-0.5, -3.0], requires_grad=True)  # energies 0.5 and 3
    value = LOSSES["margin"].discriminator(torch.tensor([-0.25]), fake, Constants(margin=2.0))
    assert float(value.detach()) == pytest.approx(0.25 + 1.5 / 2, abs=NEAR)
    (gradient,) = torch.autograd.grad(value, fake)
    assert gradient.tolist() == [0.5, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_only_losses_that_compare_need_real_scores(name: str) -> None:
    fake = fit(name, scores(1)).detach().requires_grad_(True)
    values = [float(LOSSES[name].generator(fit(name, scores(seed)), fake).detach()) for seed in (2, 3)]
    assert (values[0] != values[1]) == LOSSES[name].compares
