"""Regularisers against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from sepgan.training.adversary import penalties

NEAR = 1e-5  # relative


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_zero_centred_penalty_of_a_linear_score() -> None:
    """Of `w x` the squared gradient is `|w|^2` everywhere: gamma / 2 * 25, and its slope in w is gamma * w."""
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    at = normal(5, 2).requires_grad_(True)
    value = penalties.zero_centred_penalty(at @ weight, at, gamma=10.0)
    assert float(value.detach()) == pytest.approx(5.0 * 25, rel=NEAR)
    (slope,) = torch.autograd.grad(value, weight)
    torch.testing.assert_close(slope, 10.0 * weight.detach())


def test_the_zero_centred_penalty_is_a_mean_over_items() -> None:
    """Of `x^2 / 2` summed over two coordinates the squared gradient is `|x|^2`."""
    at = torch.tensor([[1.0, 2.0], [0.0, 3.0]], requires_grad=True)
    value = penalties.zero_centred_penalty(0.5 * at.square().sum(1), at, gamma=2.0)
    assert float(value.detach()) == pytest.approx((5 + 9) / 2, rel=NEAR)


@pytest.mark.parametrize(("scale", "wanted"), [(0.0, 10.0), (1.0, 0.0), (3.0, 40.0)])
def test_the_one_centred_penalty_of_a_linear_score(scale: float, wanted: float) -> None:
    weight = scale * torch.tensor([0.6, 0.8])
    at = normal(4, 2).requires_grad_(True)
    value = penalties.one_centred_penalty(at @ weight + 0 * at.sum(1), at, weight=10.0)
    assert float(value.detach()) == pytest.approx(wanted, abs=1e-3)


def test_a_flat_score_has_a_finite_slope() -> None:
    """The norm of a zero gradient has no derivative of its own."""
    weight = torch.zeros(2, requires_grad=True)
    at = normal(4, 2).requires_grad_(True)
    (slope,) = torch.autograd.grad(penalties.one_centred_penalty(at @ weight, at, weight=10.0), weight)
    assert bool(torch.isfinite(slope).all())


def test_points_between_lie_on_the_line() -> None:
    real, fake = normal(64, 3, seed=1), normal(64, 3, seed=2)
    torch.manual_seed(0)
    at = penalties.between(real, fake).detach()
    shares = (at - real) / (fake - real)
    torch.testing.assert_close(shares, shares[:, :1].expand(-1, 3), rtol=1e-3, atol=1e-4)
    assert float(shares.min()) > -1e-4
    assert float(shares.max()) < 1 + 1e-4
    assert float(shares[:, 0].std()) > 0.2


def test_clipped_weights_lie_within_the_bound() -> None:
    network = nn.Linear(20, 20)
    with torch.no_grad():
        network.weight.copy_(normal(20, 20))
    before = network.weight.detach().clone()
    penalties.clip_weights(network, 0.01)
    torch.testing.assert_close(network.weight.detach(), before.clamp(-0.01, 0.01))
    assert float(network.bias.detach().abs().max()) <= 0.01


def test_instance_noise_has_its_deviation_item_by_item() -> None:
    torch.manual_seed(0)
    added = penalties.instance_noise(torch.zeros(2, 1, 200, 200), torch.tensor([0.5, 2.0]), non_negative=False)
    assert added.flatten(1).std(1).tolist() == pytest.approx([0.5, 2.0], rel=0.02)
    assert float(penalties.instance_noise(torch.zeros(2, 50), 1.0, non_negative=True).min()) >= 0


def test_instance_noise_falls_linearly_or_stays() -> None:
    assert [penalties.instance_noise_at(step, 0.4, 10) for step in (0, 5, 10, 99)] == pytest.approx([0.4, 0.2, 0, 0])
    assert penalties.instance_noise_at(10**6, 0.4, 0) == 0.4


def test_the_feature_distance_of_pairs_is_relative() -> None:
    real = [2 * torch.ones(3, 4), torch.ones(3, 2, 2)]
    fake = [3 * torch.ones(3, 4), torch.ones(3, 2, 2)]
    assert float(penalties.feature_distance(real, fake, paired=True)) == pytest.approx((0.5 + 0.0) / 2)
    louder = [100 * layer for layer in real], [100 * layer for layer in fake]
    assert float(penalties.feature_distance(*louder, paired=True)) == pytest.approx(0.25)


def test_the_feature_distance_of_means_does_not_mind_the_order() -> None:
    real = normal(6, 4)
    shuffled = real[torch.tensor([3, 1, 0, 5, 4, 2])]
    assert float(penalties.feature_distance([real], [shuffled], paired=False)) == pytest.approx(0.0, abs=1e-12)
    assert float(penalties.feature_distance([real], [shuffled], paired=True)) > 0.1
    assert float(penalties.feature_distance([real], [real + 1], paired=False)) > 0.1


def test_equal_moments_cost_nothing_and_a_repeated_point_does() -> None:
    """One point repeated at the true mean has the right mean and no deviation: half of the distance remains."""
    real = normal(4000, 2, seed=3)
    assert float(penalties.moment_distance(real, real.flip(0), None)) == pytest.approx(0.0, abs=1e-5)
    repeated = real.mean(0).expand(4000, 2)
    assert float(penalties.moment_distance(real, repeated, None)) == pytest.approx(0.5, abs=1e-3)


def test_moments_are_told_apart_by_label() -> None:
    """Two kinds exchanged: together they have the same moments, one by one they have not."""
    real = torch.cat([torch.zeros(50, 1), torch.ones(50, 1)]) + 0.01 * normal(100, 1)
    label = torch.arange(100) // 50
    assert float(penalties.moment_distance(real, real.flip(0), None)) == pytest.approx(0.0, abs=1e-5)
    assert float(penalties.moment_distance(real, real.flip(0), label)) > 10


def test_moments_of_spectrograms_are_taken_over_items_and_frames() -> None:
    real = normal(3, 1, 5, 40, seed=1).abs()
    moved = torch.roll(real, 7, dims=3)
    assert float(penalties.moment_distance(real, moved, None)) == pytest.approx(0.0, abs=1e-5)
    assert float(penalties.moment_distance(real, torch.roll(real + torch.arange(5.0)[:, None], 1, dims=2), None)) > 0.1


def test_moment_distance_reaches_the_generated_side_only() -> None:
    real, fake = normal(8, 2).requires_grad_(True), normal(8, 2, seed=1).requires_grad_(True)
    torch.autograd.backward(penalties.moment_distance(real, fake, None))
    assert real.grad is None
    assert fake.grad is not None
    assert math.isfinite(float(fake.grad.sum()))
