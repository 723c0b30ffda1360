"""The gradient balancer and the controller."""

import pytest
import torch

from sepgan.recipe.adversary import ControllerRecipe
from sepgan.training.adversary.balancer import Balancer
from sepgan.training.adversary.controller import Controller


def gradient_of(balancer: Balancer, scales: dict[str, float], weights: dict[str, float]) -> torch.Tensor:
    """Losses that pull one coordinate each, at very different scales."""
    source = torch.ones(4, 3, requires_grad=True)
    output = 1.0 * source
    losses = {name: scale * output[:, index].sum() for index, (name, scale) in enumerate(scales.items())}
    torch.autograd.backward(balancer.combine(losses, weights, output))
    assert source.grad is not None
    return source.grad


def test_weights_are_shares_whatever_the_scale() -> None:
    """1000, 1 and 0.001 with weights 8, 1, 1: the norms of what arrives are 0.8, 0.1 and 0.1 in each item."""
    got = gradient_of(Balancer(0.9), {"a": 1000.0, "b": 1.0, "c": 1e-3}, {"a": 8.0, "b": 1.0, "c": 1.0})
    torch.testing.assert_close(got, torch.tensor([0.8, 0.1, 0.1]).expand(4, 3))


def test_a_loss_without_weight_or_without_a_way_adds_nothing() -> None:
    got = gradient_of(Balancer(0.9), {"a": 5.0, "b": 7.0}, {"a": 1.0, "b": 0.0})
    torch.testing.assert_close(got, torch.tensor([1.0, 0.0, 0.0]).expand(4, 3))
    source = torch.ones(2, 2, requires_grad=True)
    output = 2 * source
    elsewhere = torch.ones(1, requires_grad=True)
    balancer = Balancer(0.9)
    torch.autograd.backward(balancer.combine({"a": output.sum(), "b": elsewhere.sum()}, {"a": 1.0, "b": 1.0}, output))
    assert source.grad is not None
    assert bool(torch.isfinite(source.grad).all())


def test_norms_are_remembered() -> None:
    """After many steps at norm 1, a single gradient ten times as large arrives nearly ten times as large."""
    balancer = Balancer(0.99)
    for _ in range(500):
        gradient_of(balancer, {"a": 1.0}, {"a": 1.0})
    got = gradient_of(balancer, {"a": 10.0}, {"a": 1.0})
    assert float(got[0, 0]) == pytest.approx(10 / 1.09, rel=0.02)


def test_the_balancer_goes_on_from_its_state() -> None:
    one, other = Balancer(0.9), Balancer(0.9)
    for scale in (1.0, 3.0, 0.2):
        gradient_of(one, {"a": scale, "b": 1.0}, {"a": 1.0, "b": 1.0})
    other.load_state_dict(one.state_dict())
    first, second = (gradient_of(each, {"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 1.0}) for each in (one, other))
    assert torch.equal(first, second)


def controller(**keys: object) -> Controller:
    return Controller(ControllerRecipe.model_validate({"enabled": True, "window": 4, "factor": 0.5} | keys))


def test_too_few_false_positives_in_a_window_lower_the_rate() -> None:
    regulator = controller(floor=0.2)
    assert [regulator.observe(0.02) for _ in range(4)] == [1.0, 1.0, 1.0, 0.5]
    for _ in range(20):
        regulator.observe(0.0)
    assert regulator.scale == 0.2


def test_too_many_raise_it() -> None:
    regulator = controller(ceiling=3.0)
    assert [regulator.observe(0.9) for _ in range(4)][-1] == 2.0
    for _ in range(20):
        regulator.observe(1.0)
    assert regulator.scale == 3.0


def test_inside_the_band_nothing_changes() -> None:
    """Single steps outside do not matter: it is the share in the window that counts."""
    regulator = controller()
    for share in (0.0, 0.6, 0.0, 0.6, 0.1, 0.1, 0.1, 0.1, 0.45, 0.45, 0.45, 0.45):
        assert regulator.observe(share) == 1.0


def test_switched_off_it_never_moves() -> None:
    regulator = Controller(ControllerRecipe(window=1))
    assert [regulator.observe(share) for share in (0.0, 1.0, 0.0)] == [1.0, 1.0, 1.0]


def test_it_goes_on_in_the_middle_of_a_window() -> None:
    one, other = controller(), controller()
    for share in (0.0, 0.0, 0.0, 0.0, 0.9, 0.9):
        one.observe(share)
    other.load_state_dict(one.state_dict())
    assert [one.observe(0.9) for _ in range(6)] == [other.observe(0.9) for _ in range(6)]
