"""What keeps a discriminator in bounds: penalties, clipping, noise."""

import math

import pytest
import torch

from tests.training.adversary.boxes import (
    build,
    update,
)


@pytest.mark.parametrize("key", ["r1", "r2", "gradient_penalty"])
def test_penalties_flatten_the_discriminator(key: str) -> None:
    """After the same updates its gradients are smaller than without the penalty."""

    def steepness(**keys: object) -> float:
        adversary, evidence = build("mlp", "non_saturating", learning_rate=1e-2, spectral_norm=False, **keys)
        for _ in range(40):
            update(adversary, evidence)
        judged = evidence["vector"]
        at = torch.cat([judged.real, judged.fake]).requires_grad_(True)
        (gradient,) = torch.autograd.grad(adversary.modules["discriminator"](None, at, None).scores[0].sum(), at)
        return float(gradient.norm(dim=1).mean())

    assert steepness(**{key: 10.0}) < 0.8 * steepness()


def test_lazy_penalties_are_taken_every_so_many_updates() -> None:
    adversary, evidence = build("mlp", "hinge", r1=1.0, penalty_every=3)
    assert ["penalty" in update(adversary, evidence) for _ in range(6)] == [True, False, False, True, False, False]
    lazy, eager = (build("mlp", "hinge", r1=1.0, penalty_every=every)[0] for every in (3, 1))
    assert update(lazy, evidence)["penalty"] == pytest.approx(3 * update(eager, evidence)["penalty"], rel=1e-5)


def test_clipped_weights_stay_clipped() -> None:
    adversary, evidence = build("mlp", "wasserstein", learning_rate=0.5, clip_weights=0.03)
    for _ in range(3):
        update(adversary, evidence)
    largest = max(float(weight.detach().abs().max()) for weight in adversary.modules["discriminator"].parameters())
    assert largest == pytest.approx(0.03)


def test_its_gradient_is_clipped_apart_from_the_generators() -> None:
    adversary, evidence = build("mlp", "hinge", clip_norm=1e-3, spectral_norm=False)
    assert update(adversary, evidence)["discriminator_gradient_norm"] > 1e-3
    total = sum(
        float(weight.grad.square().sum())
        for weight in adversary.modules["discriminator"].parameters()
        if weight.grad is not None
    )
    assert math.sqrt(total) == pytest.approx(1e-3, rel=1e-2)


def test_instance_noise_is_seeded_and_on_both_sides() -> None:
    first, second = (update(*build("mlp", "hinge", instance_noise=2.0)) for _ in range(2))
    assert first == second
    assert first != update(*build("mlp", "hinge"))
