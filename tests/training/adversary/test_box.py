"""The adversary: when it counts, that it leads to a known answer, and what it says of itself."""

import json
import math
from typing import Any

import pytest
import torch

from sepgan.training.adversary import Judged
from tests.training.adversary.boxes import (
    TRUTH,
    build,
    examples,
    make,
    score,
    update,
)

ANSWER = 0.1  # how near to the known answer a scale must come, absolute


@pytest.mark.parametrize("start", [1.5, 0.1])
def test_it_leads_a_generator_to_a_known_answer(start: float) -> None:
    """The generator scales the mixture by one number a stem; the real stems are 0.8 and 0.3 of it.

    No reconstruction loss: only the discriminator, told by its label which stem it sees, can say how loud each ought to
    be. One that is blind to the label, a wrong sign, or a gradient that does not reach the generator all fail here.
    """
    adversary = make(learning_rate=1e-2, betas=(0.0, 0.9))
    logs = torch.full((2,), math.log(start), requires_grad=True)  # of scales, which as magnitudes stay positive
    steps, fastest = 200, 2.0
    optimiser = torch.optim.SGD([logs], lr=fastest)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        judged = examples(logs.exp(), TRUTH, generator)
        measured = update(adversary, judged)
        optimiser.param_groups[0]["lr"] = fastest * (1 - step / steps)
        optimiser.zero_grad()
        torch.autograd.backward(score(adversary, judged))
        optimiser.step()
    assert float((logs.detach().exp() - TRUTH).abs().max()) <= ANSWER
    # Where real and generated are alike nothing is better than to say one half.
    assert measured["discriminator_loss"] == pytest.approx(0.25, abs=0.05)


def test_an_update_moves_the_discriminator_and_nothing_else() -> None:
    adversary, scales = make(), torch.full((2,), 0.5, requires_grad=True)
    before = [weight.detach().clone() for weight in adversary.modules["discriminator"].parameters()]
    update(adversary, examples(scales, TRUTH, torch.Generator().manual_seed(0)))
    assert scales.grad is None
    after = adversary.modules["discriminator"].parameters()
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_score_reaches_the_generator_and_not_the_discriminator() -> None:
    adversary, scales = make(), torch.full((2,), 0.5, requires_grad=True)
    before = [weight.detach().clone() for weight in adversary.modules["discriminator"].parameters()]
    torch.autograd.backward(score(adversary, examples(scales, TRUTH, torch.Generator().manual_seed(0))))
    assert scales.grad is not None
    assert float(scales.grad.abs().min()) > 0
    for weight, old in zip(adversary.modules["discriminator"].parameters(), before, strict=True):
        assert weight.grad is None
        assert torch.equal(weight, old)


def test_updates_lower_the_discriminators_loss() -> None:
    adversary, scales = make(learning_rate=1e-2), torch.tensor([1.5, 1.5])
    generator = torch.Generator().manual_seed(0)
    losses = [update(adversary, examples(scales, TRUTH, generator))["discriminator_loss"] for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_shares_of_a_batch_add_up_to_the_whole() -> None:
    """In double precision, because sums are taken in another order."""
    whole, parts = make(), make()
    judged = examples(torch.tensor([0.5, 0.6]), TRUTH, torch.Generator().manual_seed(0))
    assert judged.mixture is not None
    assert judged.label is not None
    mixture, real, fake = judged.mixture.double(), judged.real.double(), judged.fake.double()
    for adversary in (whole, parts):
        adversary.modules["discriminator"].eval().double()
        adversary.begin()
    whole.learn(Judged(mixture, real, fake, judged.label), 1.0)
    for start, stop in ((0, 2), (2, 8)):
        some = slice(start, stop)
        parts.learn(Judged(mixture[some], real[some], fake[some], judged.label[some]), (stop - start) / 8)
    for one, other in zip(
        whole.modules["discriminator"].parameters(), parts.modules["discriminator"].parameters(), strict=True
    ):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("boundary", "wanted"), [("least_squares", 0.5), ("hinge", 0.75), ("wasserstein_gp", 0.25)])
def test_false_positives_are_what_scores_above_the_boundary(boundary: str, wanted: float) -> None:
    """0.5 for least squares, 0 for hinge, and half way between the means, here 3, where scores have no zero."""
    from sepgan.models.judgement import Judgement

    adversary = build("mlp", boundary)[0]
    real, fake = (Judgement((torch.tensor(values)[:, None],), ()) for values in ([5.0] * 4, [-1.0, 0.1, 0.9, 4.0]))
    assert float(adversary.false_positives(real, fake)) == wanted


def test_the_controller_turns_the_generators_rate() -> None:
    """A strong discriminator lets nothing pass: the rate falls. One that is fooled by everything: it rises."""
    keys = {"controller": {"enabled": True, "window": 2, "factor": 0.5}}
    adversary, evidence = build("mlp", "hinge", learning_rate=1e-9, **keys)
    sign = torch.tensor([1.0, -1.0])
    for strong, wanted in ((0, 0.5), (1, 2.0)):
        adversary.load_state_dict(make().state_dict())
        # Move the last bias so that the scores of generated examples lie far below or above the boundary.
        with torch.no_grad():
            dict(adversary.modules["discriminator"].named_parameters())["_forward_module.layers.2.bias"].copy_(
                -100 * sign[strong : strong + 1]
            )
        for _ in range(2):
            update(adversary, evidence)
        assert adversary.generator_rate_scale == wanted


def test_its_state_is_plain_and_goes_on() -> None:
    keys: dict[str, Any] = {
        "balance": True,
        "controller": {"enabled": True, "window": 3},
        "r1": 1.0,
        "penalty_every": 2,
    }
    one, evidence = build("mlp", "hinge", **keys)
    for _ in range(2):
        update(one, evidence)
    other = build("mlp", "hinge", **keys)[0]
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.state_dict() == one.state_dict()
    assert other.updates == 2


def test_balanced_weights_are_shares_at_the_output() -> None:
    """Reconstruction 1 and adversary 0.25 give 0.8 and 0.2 of the norm, though one loss is a thousand times larger."""
    adversary = make(balance=True, weight=0.25)
    judged = examples(torch.ones(2), TRUTH, torch.Generator().manual_seed(0))
    output = judged.fake.clone().requires_grad_(True)
    reconstruction = 1000 * (output[..., :4] - judged.real[..., :4]).abs().mean()
    total, _ = adversary.objective(reconstruction, judged._replace(fake=output), output, 1.0, step=0)
    (gradient,) = torch.autograd.grad(total, output)
    own = torch.autograd.grad(adversary.generator_losses(judged._replace(fake=output))["adversarial"], output)[0]
    share = own / own.flatten(1).norm(dim=1).mean()
    torch.testing.assert_close((gradient - 0.2 * share)[..., 4:], torch.zeros(8, 1, 16, 4), rtol=0, atol=2e-4)
    rest = (gradient - 0.2 * share)[..., :4].flatten(1).norm(dim=1).mean()
    assert float(rest) == pytest.approx(0.8, abs=1e-3)


def test_the_plain_objective_is_the_weighted_sum() -> None:
    adversary = make(weight=0.5, feature_matching=2.0, moment_matching=3.0)
    adversary.modules["discriminator"].eval()
    judged = examples(torch.ones(2), TRUTH, torch.Generator().manual_seed(0))
    losses = adversary.generator_losses(judged)
    total, _ = adversary.objective(torch.tensor(7.0), judged, judged.fake, 0.25, step=0)
    parts = 0.5 * losses["adversarial"] + 2.0 * losses["feature_matching"] + 3.0 * losses["moment_matching"]
    assert float(total) == pytest.approx(7.0 + 0.25 * float(parts), rel=1e-6)


def test_the_schedule() -> None:
    adversary = make(weight=0.4, start_step=10, warmup_steps=5, ramp_steps=4)
    assert [adversary.trains_at(step) for step in (0, 9, 10, 99)] == [False, False, True, True]
    assert [adversary.weight_at(step) for step in (0, 10, 14)] == [0.0, 0.0, 0.0]
    assert [round(adversary.weight_at(step), 6) for step in (15, 16, 17, 18, 19, 999)] == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    assert make(updates=3).updates_at(0) == 3


def test_without_warm_up_or_ramp_it_counts_at_once() -> None:
    assert make(weight=0.4).weight_at(0) == 0.4


def test_weight_zero_switches_it_off() -> None:
    adversary = make(weight=0.0, start_step=0, balance=True, moment_matching=1.0)
    assert not any(adversary.trains_at(step) for step in (0, 1, 100))
    assert [adversary.weight_at(step) for step in (0, 100)] == [0.0, 0.0]
    assert not adversary.needs_waveforms
    assert adversary.couplings() == []


def test_it_says_what_ties_the_examples_of_a_batch() -> None:
    assert make().couplings() == []
    assert make(loss="relativistic_average").couplings() == ["the loss relativistic_average"]
    tied = make(moment_matching=1.0, balance=True, conditional=False, unpaired=True).couplings()
    assert tied == ["moment matching", "examples drawn from the whole batch", "the gradient balancer"]
    assert build("encoder", "hinge")[0].couplings() == ["batch normalisation of the discriminator"]


def test_rating_teaches_nothing() -> None:
    adversary, evidence = build("stft", "hinge")
    before = {name: value.clone() for name, value in adversary.modules["discriminator"].state_dict().items()}
    real, fake = adversary.rate(evidence)["discriminator"]
    assert real.shape == fake.shape == (6,)
    assert all(
        torch.equal(before[name], value) for name, value in adversary.modules["discriminator"].state_dict().items()
    )
    assert adversary.modules["discriminator"].training
