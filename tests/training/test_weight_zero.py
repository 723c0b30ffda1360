"""Without its adversary a run is plain regression; with it both networks move."""

import math
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training.losses import LEVEL_FLOOR, grouped_l1
from sepgan.training.task import Part
from sepgan.training.trainer import open_run
from tests.training.runs import equal, log_of, run, task_of, tiny, weights_of


def plain_l1(config: Recipe, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Train by an optimiser of its own and nothing else: L1 of magnitudes, AdamW, warm-up and cosine.

    Args:
        config: For the networks, and for numbers.
        batches: Mixtures `[B, C, T]`, and stems `[B, S, C, T]` in the recipe's order.
    """
    torch.manual_seed(config.seed)
    separator = Separator(config)
    network = separator.generator.train()
    kernels = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999))
    torch.manual_seed(config.seed)  # of dropout
    first, last, warmup, steps = 3e-3, 1e-5, 2, len(batches)
    for step, (mixture, stems) in enumerate(batches):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        rate = first * (step + 1) / warmup if step < warmup else last + (first - last) * cosine
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            level = separator.bands(separator.stft(mixture).abs())
            wanted = separator.bands(separator.stft(stems).abs())
        estimates = network(level) * level[:, None]
        loss = grouped_l1(estimates, wanted, torch.eye(4).expand(len(level), 4, 4), level, torch.ones(level.shape[::2]))
        error = (estimates - wanted).abs().sum(1).mean((1, 2, 3))
        torch.testing.assert_close(loss, (error / (level.mean((1, 2, 3)) + LEVEL_FLOOR)).mean())
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
    return network.state_dict()


def test_weight_zero_is_plain_l1_training_bit_for_bit(tmp_path: Path, trees: dict[str, Path]) -> None:
    """The same weights, buffers of batch normalisation too, as a loop that knows of no adversary; dropout is on."""
    config = tiny(trees, "adversary.weight=0", "data.train.0.include=full")
    loop = open_run(config, tmp_path, trees, device="cpu")
    batches = []
    for batch in islice(task_of(loop).batches(Part(0, 2, 0, 1, None)), 6):
        assert torch.equal(batch.groups, torch.eye(4).expand(2, 4, 4)), "every stem is known alone"
        batches.append((batch.mixture, batch.targets))
    loop.fit()
    wanted = plain_l1(config, batches)
    assert equal(wanted, task_of(loop).separator.generator.state_dict())
    untrained = plain_l1(config, [])
    assert not torch.equal(untrained["head.weight"], wanted["head.weight"])


def test_weight_zero_leaves_the_discriminator_alone(tmp_path: Path, trees: dict[str, Path]) -> None:
    loop = open_run(tiny(trees, "adversary.weight=0"), tmp_path, trees, device="cpu")
    discriminator = task_of(loop).adversary.modules["discriminator"]
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    loop.fit()
    assert equal(before, discriminator.state_dict())
    assert log_of(tmp_path, "discriminator_loss") == {}
    assert "adversarial" not in (tmp_path / "train.jsonl").read_text()


def test_with_weight_zero_no_other_setting_of_the_adversary_matters(tmp_path: Path, trees: dict[str, Path]) -> None:
    """Plain L1 training through the same code; dropout too must not notice how large the idle discriminator is."""
    run(tiny(trees, adversary={"weight": 0}), tmp_path / "one", trees)
    other = {"weight": 0, "widths": [4, 4], "start_step": 3, "learning_rate": 0.1, "power": 0.5}
    run(tiny(trees, adversary=other), tmp_path / "other", trees)
    assert equal(weights_of(tmp_path / "one/last.safetensors"), weights_of(tmp_path / "other/last.safetensors"))


def test_weight_above_zero_moves_both_networks(tmp_path: Path, trees: dict[str, Path]) -> None:
    loop = open_run(tiny(trees), tmp_path / "with", trees, device="cpu")
    discriminator = task_of(loop).adversary.modules["discriminator"]
    before = {name: value.clone() for name, value in discriminator.named_parameters()}
    loop.fit()
    after = dict(discriminator.named_parameters())
    assert not any(torch.equal(before[name], after[name]) for name in before)
    run(tiny(trees, "adversary.weight=0"), tmp_path / "without", trees)
    guided, plain = (weights_of(tmp_path / name / "last.safetensors") for name in ("with", "without"))
    assert not torch.equal(guided["head.weight"], plain["head.weight"]), "the adversary's score reaches the generator"
    assert log_of(tmp_path / "with")[2] == log_of(tmp_path / "without")[2], "but only once it counts"
