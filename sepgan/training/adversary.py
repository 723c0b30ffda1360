"""The adversary in a box: discriminator and optimiser with two verbs, `update` and `score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sepgan.models import build_discriminator
from sepgan.recipe import AdversaryRecipe
from sepgan.training.devices import sum_gradients
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
        self.generator_rate_scale = 1.0
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

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Networks by name."""
        return {"discriminator": self.discriminator}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Their optimisers."""
        return {"discriminator": self.optimiser}

    def updates_at(self, step: int) -> int:
        """Updates in this step."""
        return 1

    def begin(self) -> None:
        """Forget gradients."""
        self.discriminator.requires_grad_(True)
        self.optimiser.zero_grad(set_to_none=True)

    def learn(self, judged: Judged, share: float) -> dict[str, Tensor]:
        """Add the gradient of `share` times the discriminator's loss on detached estimates."""
        self.discriminator.requires_grad_(True)
        real = self.discriminator(judged.mixture, judged.real, judged.label)
        fake = self.discriminator(judged.mixture, judged.fake.detach(), judged.label)
        loss = lsgan_discriminator(real.float(), fake.float())
        self.fabric.backward(share * loss)
        return {
            "discriminator_loss": loss.detach(),
            "score_real": real.detach().float().mean(),
            "score_fake": fake.detach().float().mean(),
        }

    def apply(self) -> dict[str, Tensor]:
        """Take the step."""
        sum_gradients(self.fabric, self.discriminator)
        # Overflow is no error here: at 16 bits the scaler skips such a step, otherwise the loop sees the norm.
        norm = self.fabric.clip_gradients(
            self.discriminator, self.optimiser, max_norm=self.config.clip_norm, error_if_nonfinite=False
        )
        assert norm is not None
        self.optimiser.step()
        return {"discriminator_gradient_norm": norm.detach()}

    def update(self, judged: Judged) -> dict[str, float]:
        """Take one step of the discriminator on detached estimates and return what it thought."""
        self.begin()
        measured = self.learn(judged, 1.0)
        return {name: float(value) for name, value in (measured | self.apply()).items()}

    def score(self, judged: Judged) -> Tensor:
        """Return the generator's adversarial loss; no gradient reaches the discriminator."""
        self.discriminator.requires_grad_(False)
        fake = self.discriminator(judged.mixture, judged.fake, judged.label)
        return lsgan_generator(fake.float())

    def objective(
        self, reconstruction: Tensor | None, evidence: Judged, output: Tensor, share: float, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the generator minimises, and the adversarial part of it."""
        adversarial = self.score(evidence)
        weighted = self.weight_at(step) * share * adversarial
        total = weighted if reconstruction is None else reconstruction + weighted
        return total, {"adversarial": adversarial.detach()}

    def after_step(self, step: int, generator: nn.Module) -> None:
        """Nothing is left to do."""

    def couplings(self) -> tuple[str, ...]:
        """Nothing ties the examples of a batch together."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Nothing else must survive a stop."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing else was kept."""
