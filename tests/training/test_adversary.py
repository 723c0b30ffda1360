"""The adversary: what it looks at, when it counts, and that it leads a generator to a known answer."""

import math

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from sepgan.recipe import AdversaryRecipe
from sepgan.training.adversary import Adversary, Judged, select_single_stems

ANSWER = 0.1  # how near to the known answer a scale must come, absolute


def make(stems: int = 2, channels: int = 1, **keys: object) -> Adversary:
    torch.manual_seed(0)
    config = AdversaryRecipe.model_validate({"weight": 1.0, "widths": [16]} | keys)
    return Adversary(config, stems, channels, Fabric(accelerator="cpu", devices=1))


def examples(scales: Tensor, truth: Tensor, generator: torch.Generator, items: int = 8) -> Judged:
    """Stems that are scaled copies of their mixture: the real ones by `truth`, the generated ones by `scales`."""
    mixture = 0.5 + torch.rand(items, 1, 8, 8, generator=generator)
    label = torch.arange(items) % len(truth)
    real, fake = (factors[label][:, None, None, None] * mixture for factors in (truth, scales))
    return Judged(mixture, real, fake, label)


@pytest.mark.parametrize("start", [1.5, 0.1])
def test_it_leads_a_generator_to_a_known_answer(start: float) -> None:
    """The generator scales the mixture by one number a stem; the real stems are 0.8 and 0.3 of it.

    No reconstruction loss: only the discriminator, told by its label which stem it sees, can say how loud each ought to
    be. One that is blind to the label, a wrong sign, or a gradient that does not reach the generator all fail here.
    """
    adversary = make(learning_rate=1e-2, betas=(0.0, 0.9))
    truth = torch.tensor([0.8, 0.3])
    logs = torch.full((2,), math.log(start), requires_grad=True)  # of scales, which as magnitudes stay positive
    steps, fastest = 200, 2.0
    optimiser = torch.optim.SGD([logs], lr=fastest)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        judged = examples(logs.exp(), truth, generator)
        measured = adversary.update(judged)
        optimiser.param_groups[0]["lr"] = fastest * (1 - step / steps)
        optimiser.zero_grad()
        adversary.fabric.backward(adversary.score(judged))
        optimiser.step()
    assert float((logs.detach().exp() - truth).abs().max()) <= ANSWER
    # Where real and generated are alike nothing is better than to say one half.
    assert measured["discriminator_loss"] == pytest.approx(0.25, abs=0.05)


def test_update_moves_the_discriminator_and_nothing_else() -> None:
    adversary, scales = make(), torch.full((2,), 0.5, requires_grad=True)
    before = [weight.detach().clone() for weight in adversary.discriminator.parameters()]
    adversary.update(examples(scales, torch.tensor([0.8, 0.3]), torch.Generator().manual_seed(0)))
    assert scales.grad is None
    changed = [not torch.equal(b, a) for b, a in zip(before, adversary.discriminator.parameters(), strict=True)]
    assert all(changed)


def test_score_reaches_the_generator_and_not_the_discriminator() -> None:
    adversary, scales = make(), torch.full((2,), 0.5, requires_grad=True)
    before = [weight.detach().clone() for weight in adversary.discriminator.parameters()]
    judged = examples(scales, torch.tensor([0.8, 0.3]), torch.Generator().manual_seed(0))
    adversary.fabric.backward(adversary.score(judged))
    assert scales.grad is not None
    assert float(scales.grad.abs().min()) > 0
    for weight, old in zip(adversary.discriminator.parameters(), before, strict=True):
        assert weight.grad is None
        assert torch.equal(weight, old)


def test_updates_lower_the_discriminators_loss() -> None:
    adversary, scales = make(learning_rate=1e-2), torch.tensor([1.5, 1.5])
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.8, 0.3])
    losses = [adversary.update(examples(scales, truth, generator))["discriminator_loss"] for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_the_schedule() -> None:
    adversary = make(weight=0.4, start_step=10, warmup_steps=5, ramp_steps=4)
    assert [adversary.trains_at(step) for step in (0, 9, 10, 99)] == [False, False, True, True]
    assert [adversary.weight_at(step) for step in (0, 10, 14)] == [0.0, 0.0, 0.0]
    assert [round(adversary.weight_at(step), 6) for step in (15, 16, 17, 18, 19, 999)] == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]


def test_without_warm_up_or_ramp_it_counts_at_once() -> None:
    assert make(weight=0.4).weight_at(0) == 0.4


def test_weight_zero_switches_it_off() -> None:
    adversary = make(weight=0.0, start_step=0)
    assert not any(adversary.trains_at(step) for step in (0, 1, 100))
    assert [adversary.weight_at(step) for step in (0, 100)] == [0.0, 0.0]


def test_only_groups_of_one_stem_are_judged() -> None:
    generator = torch.Generator().manual_seed(0)
    mixture = torch.rand(2, 1, 6, 5, generator=generator)
    targets, estimates = (torch.rand(2, 4, 1, 6, 5, generator=generator) for _ in range(2))
    groups = torch.zeros(2, 4, 4)
    groups[0, 0, [0, 1, 2]] = 1  # accompaniment
    groups[0, 1, 3] = 1  # vocals, in the second slot
    groups[1] = torch.eye(4)
    band_mask = torch.ones(2, 6)
    band_mask[0, 4:] = 0
    judged = select_single_stems(mixture, targets, estimates, groups, band_mask)
    assert judged is not None
    assert judged.label.tolist() == [3, 0, 1, 2, 3]
    assert torch.equal(judged.real[0, :, :4], targets[0, 1, :, :4])
    assert torch.equal(judged.fake[0, :, :4], estimates[0, 3, :, :4])
    for seen in (judged.mixture, judged.real, judged.fake):
        assert float(seen[0, :, 4:].abs().max()) == 0.0
    assert torch.equal(judged.fake[1:], estimates[1])
    assert torch.equal(judged.mixture[4], mixture[1])


def test_a_batch_without_single_stems_has_nothing_to_judge() -> None:
    groups = torch.zeros(1, 2, 2)
    groups[0, 0] = 1
    anything = torch.rand(1, 2, 1, 6, 5)
    assert select_single_stems(anything[:, 0], anything, anything, groups, torch.ones(1, 6)) is None
