"""Losses against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from sepgan.training.losses import ERROR_FLOOR, LEVEL_FLOOR, grouped_error, grouped_l1, grouped_l2, phase_sensitive

SAME = 1e-6  # absolute: rounding of numbers near 1

ONE_EACH = torch.eye(4)[None]  # every stem a group of its own
PAIR = torch.tensor([[[1.0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]])  # accompaniment, vocals


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def loss(estimates: Tensor, targets: Tensor, groups: Tensor, level: Tensor, known: Tensor | None = None) -> float:
    band_mask = torch.ones(level.shape[0], level.shape[2]) if known is None else known
    return float(grouped_l1(estimates, targets, groups, level, band_mask))


def test_equal_estimates_cost_nothing() -> None:
    targets = random(1, 4, 2, 6, 5)
    assert loss(targets, targets, ONE_EACH, targets.sum(1)) == 0.0


def test_the_closed_form() -> None:
    """Each of four stems is off by 0.5 at a level of 2: 4 * 0.5 / (2 + floor)."""
    targets = random(1, 4, 2, 6, 5)
    level = torch.full((1, 2, 6, 5), 2.0)
    assert loss(targets + 0.5, targets, ONE_EACH, level) == pytest.approx(4 * 0.5 / (2 + LEVEL_FLOOR), abs=SAME)


def test_a_group_sees_the_sum_of_its_stems_only() -> None:
    """What one stem of a group lacks another may have: +0.3 and -0.3 cost nothing, and single errors add up."""
    estimates = random(1, 4, 2, 6, 5) + 1
    targets = torch.stack(
        [estimates[:, :3].sum(1), estimates[:, 3], torch.zeros(1, 2, 6, 5), torch.zeros(1, 2, 6, 5)], 1
    )
    moved = estimates.clone()
    moved[:, 0] += 0.3
    moved[:, 2] -= 0.3
    level = torch.ones(1, 2, 6, 5)
    assert loss(moved, targets, PAIR, level) <= SAME
    moved[:, 1] += 0.25
    assert loss(moved, targets, PAIR, level) == pytest.approx(0.25 / (1 + LEVEL_FLOOR), abs=SAME)


def test_empty_groups_do_not_matter_whatever_their_target() -> None:
    estimates, level = random(1, 4, 2, 6, 5), torch.ones(1, 2, 6, 5)
    targets = random(1, 4, 2, 6, 5, seed=1)
    other = targets.clone()
    other[:, 2:] = 1e6
    assert loss(estimates, targets, PAIR, level) == loss(estimates, other, PAIR, level)


def test_the_level_is_taken_item_by_item() -> None:
    """A quiet copy of an excerpt costs as much as the loud one; together they cost their mean."""
    estimates, targets, level = random(1, 4, 2, 6, 5), random(1, 4, 2, 6, 5, seed=1), 100 * torch.ones(1, 2, 6, 5)
    loud = loss(100 * estimates, 100 * targets, ONE_EACH, level)
    louder = loss(1000 * estimates, 1000 * targets, ONE_EACH, 10 * level)
    assert louder == pytest.approx(loud, rel=1e-3)
    both = loss(
        torch.cat([100 * estimates, 1000 * estimates]),
        torch.cat([100 * targets, 1000 * targets]),
        ONE_EACH.expand(2, -1, -1),
        torch.cat([level, 10 * level]),
    )
    assert both == pytest.approx((loud + louder) / 2, rel=1e-5)


def test_masked_frequencies_are_neither_counted_nor_averaged_over() -> None:
    estimates, targets, level = random(1, 4, 2, 6, 5), random(1, 4, 2, 6, 5, seed=1), 1 + random(1, 2, 6, 5, seed=2)
    known = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    masked = loss(estimates, targets, ONE_EACH, level, known)
    cut = loss(estimates[..., :4, :], targets[..., :4, :], ONE_EACH, level[..., :4, :])
    assert masked == pytest.approx(cut, abs=SAME)
    targets[..., 4:, :] = 1e6
    assert loss(estimates, targets, ONE_EACH, level, known) == masked


def test_silent_items_are_finite_and_have_finite_gradients() -> None:
    silence = torch.zeros(1, 4, 2, 6, 5)
    estimates = silence.clone().requires_grad_(True)
    value = grouped_l1(estimates, silence, ONE_EACH, silence[:, 0], torch.ones(1, 6))
    (gradient,) = torch.autograd.grad(value, estimates)
    assert float(value.detach()) == 0.0
    assert bool(torch.isfinite(gradient).all())
    assert math.isfinite(loss(silence, silence, ONE_EACH, silence[:, 0], torch.zeros(1, 6)))


def spectrum(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_in_phase_stems_keep_their_magnitude() -> None:
    mixture = spectrum(1, 2, 6, 5, seed=0)
    shares = torch.tensor([0.5, 0.3, 0.2, 0.0])[None, :, None, None, None]
    projected = phase_sensitive(shares * mixture[:, None], mixture, mixture.abs())
    torch.testing.assert_close(projected, shares * mixture.abs()[:, None], rtol=0, atol=SAME)


def test_the_projection_is_the_closed_form_within_its_bounds() -> None:
    stems = spectrum(1, 4, 2, 6, 5, seed=1)
    mixture = stems.sum(1)
    angle = stems.angle() - mixture.angle()[:, None]
    projection = stems.abs() * angle.cos()
    torch.testing.assert_close(projection.sum(1), mixture.abs(), rtol=0, atol=1e-5)
    wanted = projection.clamp_min(0).minimum(mixture.abs()[:, None])
    torch.testing.assert_close(phase_sensitive(stems, mixture, mixture.abs()), wanted, rtol=0, atol=1e-5)


def test_opposite_phase_and_silence_project_to_zero() -> None:
    mixture = spectrum(1, 2, 6, 5, seed=2)
    assert float(phase_sensitive(-mixture[:, None], mixture, mixture.abs()).max()) == 0.0
    silence = torch.zeros_like(mixture)
    assert float(phase_sensitive(mixture[:, None], silence, silence.abs()).abs().max()) == 0.0


def test_the_closed_form_of_root_mean_squares() -> None:
    """Half of the cells of each of four stems are off by 0.5 at a level of 2."""
    targets, level = random(1, 4, 2, 6, 8), torch.full((1, 2, 6, 8), 2.0)
    moved = targets.clone()
    moved[..., ::2] += 0.5
    floor = ERROR_FLOOR * (2 + LEVEL_FLOOR)
    expected = 4 * (math.sqrt(0.5**2 / 2 + floor**2) - floor) / (2 + LEVEL_FLOOR)
    found = float(grouped_l2(moved, targets, ONE_EACH, level, torch.ones(1, 6)))
    assert found == pytest.approx(expected, abs=SAME)
    assert float(grouped_l2(targets, targets, ONE_EACH, level, torch.ones(1, 6))) == pytest.approx(0, abs=SAME)


def test_root_mean_squares_follow_groups_bands_and_weights() -> None:
    estimates, level = random(1, 4, 2, 6, 5) + 1, torch.ones(1, 2, 6, 5)
    targets = torch.stack([estimates[:, :3].sum(1), estimates[:, 3], *torch.full((2, 1, 2, 6, 5), 1e6)], 1)
    known = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    moved = estimates.clone()
    moved[:, 0] += 0.3
    moved[:, 2] -= 0.3
    moved[:, :, :, 3:] += 7.0  # above the band
    assert float(grouped_l2(moved, targets, PAIR, level, known)) <= SAME
    moved[:, 3] += 0.25
    whole = float(grouped_l2(moved, targets, PAIR, level, known))
    half = float(grouped_l2(moved, targets, PAIR, level, known, torch.tensor([[1.0, 0.5, 1.0, 1.0]])))
    assert whole > 0.2
    assert half == pytest.approx(whole / 2, abs=SAME)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_best_real_mask_of_two_waves(distance: str) -> None:
    """Of cells where a stem is all or nothing three times to one: an absolute error wants all, a square the mean."""
    truth = torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(1, 1, 1, 4, 4)
    silence = truth.new_zeros(1, 1, 1, 4, 4)
    mask = torch.tensor(0.5, requires_grad=True)
    error = grouped_error("l1" if distance == "l1" else "l2")
    for _ in range(400):
        cost = error(mask + silence, truth, torch.ones(1, 1, 1), torch.ones(1, 1, 4, 4), torch.ones(1, 4))
        (slope,) = torch.autograd.grad(cost, mask)
        mask = (mask - 0.02 * slope).detach().requires_grad_()
    assert float(mask.detach()) == pytest.approx(1.0 if distance == "l1" else 0.75, abs=0.05)


def test_of_nothing_but_silence_root_mean_squares_and_gradients_are_finite() -> None:
    silence = torch.zeros(1, 4, 2, 6, 5)
    estimates = silence.clone().requires_grad_()
    value = grouped_l2(estimates, silence, ONE_EACH, silence[:, 0], torch.ones(1, 6))
    (slope,) = torch.autograd.grad(value, estimates)
    assert float(value.detach()) == 0.0
    assert bool(torch.isfinite(slope).all())
