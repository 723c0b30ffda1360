"""Every discriminator with every loss."""

import math

import pytest
import torch

from sepgan.recipe.adversary import GAN_LOSSES
from tests.training.adversary.boxes import (
    NETWORKS,
    build,
    evidence_of,
    make,
    score,
    update,
)


@pytest.mark.parametrize("loss", sorted(GAN_LOSSES))
@pytest.mark.parametrize("network", NETWORKS)
def test_one_step_lowers_the_discriminators_loss_on_fixed_data(network: str, loss: str) -> None:
    """Every discriminator with every loss; the loss without penalties, measured before and after on the same data."""
    rate = 1e-4
    adversary, evidence = build(network, loss, learning_rate=rate, clip_weights=1.0 if loss == "wasserstein" else 0.0)
    judge = adversary.judges[0]
    if loss == "wasserstein_gp":  # whose penalty may well come first; here the critic itself is the question
        adversary.config = adversary.config.model_copy(update={"gradient_penalty": 0.0})
    judge.network.eval()  # spectral and batch norms stand still, so that only the step makes a difference
    before = update(adversary, evidence)["discriminator_loss"]
    adversary.begin()
    after = float(adversary.learn(evidence, 1.0)["discriminator_loss"])
    assert after < before
    for value in adversary.generator_losses(evidence).values():
        assert math.isfinite(float(value))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_generators_gradient_reaches_every_view(network: str) -> None:
    adversary, evidence = build(network, "hinge")
    (view, judged), *_ = evidence.items()
    fake = judged.fake.requires_grad_(True)
    torch.autograd.backward(score(adversary, {view: judged._replace(fake=fake)}))
    assert fake.grad is not None
    assert bool(torch.isfinite(fake.grad).all())
    assert float(fake.grad.flatten(1).abs().amax(1).min()) > 0


def test_several_discriminators_each_see_their_view() -> None:
    adversary = make(also=[{"kind": "stft", "widths": [4], "n_ffts": [64]}, {"kind": "context", "widths": [4]}])
    assert adversary.views == {"bands", "waveform", "context"}
    assert list(adversary.modules) == ["discriminator", "discriminator_1_stft", "discriminator_2_context"]
    evidence = {view: judged for name in sorted(adversary.views) for view, judged in evidence_of(name).items()}
    measured = update(adversary, evidence)
    assert {"discriminator_loss", "discriminator_loss_1_stft", "false_positives_2_context"} <= measured.keys()
    losses = adversary.generator_losses(evidence)["adversarial"]
    alone = [adversary.generator_losses({view: judged})["adversarial"] for view, judged in evidence.items()]
    assert float(losses) == pytest.approx(float(torch.stack(alone).mean()), abs=1e-2)
    del evidence["context"]
    assert "discriminator_loss_2_context" not in update(adversary, evidence)
