"""The adversary in a box: discriminator and optimiser with two verbs, `update` and `score`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sepgan.models import build_discriminator
from sepgan.recipe import AdversaryRecipe
from sepgan.training.losses import lsgan_discriminator, lsgan_generator


class Judged(NamedTuple):
    """Stems for judgement, P of them: real and generated ones of the same mixture."""

    mixture: Tensor  # [P, C, F, N] magnitudes
    real: Tensor  # [P, C, F, N]
    fake: Tensor  # [P, C, F, N]
    label: Tensor  # [P], which stem


def select_single_stems(
    mixture: Tensor, targets: Tensor, estimates: Tensor, groups: Tensor, band_mask: Tensor
) -> Judged | None:
    """Pick the groups that hold exactly one stem: only of those is a real example known.

    Both sides are silenced above the known band, so that band limits tell the discriminator nothing.

    Args:
        mixture: Magnitudes `[B, C, F, N]`.
        targets: Magnitudes of the groups, `[B, G, C, F, N]`.
        estimates: Masked magnitudes of the stems, `[B, S, C, F, N]`.
        groups: `[B, G, S]`.
        band_mask: `[B, F]`.

    Returns:
        The examples, or None when there are none in this batch.
    """
    item, group = torch.nonzero(groups.sum(2) == 1, as_tuple=True)
    if len(item) == 0:
        return None
    label = groups[item, group].argmax(1)
    known = band_mask[item][:, None, :, None]
    return Judged(mixture[item] * known, targets[item, group] * known, estimates[item, label] * known, label)


class Adversary:
    """Discriminator and its optimiser.

    Args:
        config: Kind, size, optimiser and schedule.
        stems: Number of stems.
        channels: Audio channels.
        fabric: Places the discriminator on the device.
    """

    def __init__(self, config: AdversaryRecipe, stems: int, channels: int, fabric: Fabric) -> None:
        self.config = config
        self.fabric = fabric
        network = build_discriminator(config, stems, channels)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=0.0
        )
        self.discriminator: nn.Module
        self.optimiser: torch.optim.Optimizer
        self.discriminator, self.optimiser = fabric.setup(network, optimiser)

    def trains_at(self, step: int) -> bool:
        """Whether the discriminator takes part in this step at all."""
        return self.config.weight > 0 and step >= self.config.start_step

    def weight_at(self, step: int) -> float:
        """Weight of its score in the generator's loss: 0 while it warms up, then a linear ramp."""
        if self.config.weight == 0:
            return 0.0
        risen = step - self.config.start_step - self.config.warmup_steps
        if risen < 0:
            return 0.0
        return self.config.weight * min(1.0, (risen + 1) / max(1, self.config.ramp_steps))

    def update(self, judged: Judged) -> dict[str, float]:
        """Take one step of the discriminator on detached estimates and return what it thought."""
        self.discriminator.requires_grad_(True)
        self.optimiser.zero_grad(set_to_none=True)
        real = self.discriminator(judged.mixture, judged.real, judged.label)
        fake = self.discriminator(judged.mixture, judged.fake.detach(), judged.label)
        loss = lsgan_discriminator(real.float(), fake.float())
        self.fabric.backward(loss)
        # Overflow is no error here: at 16 bits the scaler skips such a step, otherwise the generator's loss tells.
        self.fabric.clip_gradients(
            self.discriminator, self.optimiser, max_norm=self.config.clip_norm, error_if_nonfinite=False
        )
        self.optimiser.step()
        return {
            "discriminator_loss": float(loss.detach()),
            "score_real": float(real.detach().mean()),
            "score_fake": float(fake.detach().mean()),
        }

    def score(self, judged: Judged) -> Tensor:
        """Return the generator's adversarial loss; no gradient reaches the discriminator."""
        self.discriminator.requires_grad_(False)
        fake = self.discriminator(judged.mixture, judged.fake, judged.label)
        return lsgan_generator(fake.float())
