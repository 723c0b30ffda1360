"""The adversary in a box: discriminators and their optimisers, and what they make of the generator's stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sepgan.models import build_discriminator
from sepgan.models.judgement import Judgement, Surroundings
from sepgan.recipe import AdversaryRecipe
from sepgan.recipe.adversary import GAN_LOSSES, DiscriminatorRecipe
from sepgan.training.adversary import penalties
from sepgan.training.adversary.balancer import Balancer
from sepgan.training.adversary.controller import Controller
from sepgan.training.adversary.evidence import Evidence, Judged
from sepgan.training.adversary.losses import LOSSES, Constants
from sepgan.training.adversary.sharing import pass_encoder, tie_encoder
from sepgan.training.devices import sum_gradients, sum_over_processes

VIEWS = {"patch": "bands", "encoder": "bands", "context": "context", "stft": "waveform", "mlp": "vector"}
Measured = dict[str, Tensor]


class _Judge(NamedTuple):
    """One discriminator."""

    suffix: str  # of the names it is measured under
    view: str
    network: nn.Module
    optimiser: torch.optim.Optimizer


class Adversary:
    """Discriminators and their optimisers; an update is `begin`, any number of `learn`, `apply`.

    Args:
        config: Discriminators, loss, regularisers, optimiser and schedule.
        around: Number of stems and channels, and the rest of the recipe that discriminators depend on.
        fabric: Places the discriminators on the device.
    """

    def __init__(self, config: AdversaryRecipe, around: Surroundings, fabric: Fabric) -> None:
        self.config = config
        self.fabric = fabric
        self.loss = LOSSES[config.loss]
        self.constants = Constants(1.0 - config.label_smoothing, config.margin)
        self.judges = [self._build(index, part, around) for index, part in enumerate(config.discriminators)]
        self.modules = {f"discriminator{judge.suffix}": judge.network for judge in self.judges}
        self.optimisers = {f"discriminator{judge.suffix}": judge.optimiser for judge in self.judges}
        self.views = frozenset(judge.view for judge in self.judges)
        self.balancer = Balancer(config.balance_decay, self._mean_over_processes)
        self.controller = Controller(config.controller)
        self.generator_rate_scale = 1.0
        self.updates = 0
        self._false_positives: list[Tensor] = []
        self._generator: nn.Module | None = None

    def _build(self, index: int, part: DiscriminatorRecipe, around: Surroundings) -> _Judge:
        network = build_discriminator(part, around)
        optimiser: torch.optim.Optimizer
        if self.config.optimiser == "rmsprop":
            optimiser = torch.optim.RMSprop(network.parameters(), lr=self.config.learning_rate)
        else:
            optimiser = torch.optim.AdamW(
                network.parameters(), lr=self.config.learning_rate, betas=self.config.betas, weight_decay=0.0
            )
        network, optimiser = self.fabric.setup(network, optimiser)
        view = "unpaired" if part.unpaired else VIEWS[part.kind]
        return _Judge(f"_{index}_{part.kind}" if index else "", view, network, optimiser)

    @property
    def needs_waveforms(self) -> bool:
        """Whether separated waveforms must be made: for a discriminator, or to balance gradients there."""
        return self.config.weight > 0 and ("waveform" in self.views or self.config.balance)

    def bind(self, generator: nn.Module) -> None:
        """Tell it the generator whose encoder it may share; call it before that one's optimiser is made."""
        self._generator = generator
        if self.config.weight > 0 and self.config.share_encoder == "tied":
            tie_encoder(self._encoder_judge(), generator)

    def _encoder_judge(self) -> nn.Module:
        return next(judge.network for judge in self.judges if hasattr(judge.network, "encoder"))

    def trains_at(self, step: int) -> bool:
        """Whether the discriminators take part in this step at all."""
        return self.config.weight > 0 and step >= self.config.start_step

    def weight_at(self, step: int) -> float:
        """Weight of their score in the generator's loss: 0 while they warm up, then a linear ramp."""
        return self.config.weight * self._ramp(step)

    def _ramp(self, step: int) -> float:
        risen = step - self.config.start_step - self.config.warmup_steps
        if self.config.weight == 0 or risen < 0:
            return 0.0
        return min(1.0, (risen + 1) / max(1, self.config.ramp_steps))

    def updates_at(self, step: int) -> int:
        """Updates of the discriminators in this step."""
        return self.config.updates

    def begin(self) -> None:
        """Forget gradients."""
        for judge in self.judges:
            judge.network.requires_grad_(True)
            judge.optimiser.zero_grad(set_to_none=True)
        self._false_positives = []

    def learn(self, evidence: Evidence | Judged, share: float) -> Measured:
        """Add the gradient of `share` times the discriminators' loss on detached stems; returns what they thought."""
        measured: Measured = {}
        for judge, judged in self._pairs(evidence):
            due = self.updates % self.config.penalty_every == 0
            real_at = judged.real.detach().requires_grad_(due and self.config.r1 > 0)
            fake_at = judged.fake.detach().requires_grad_(due and self.config.r2 > 0)
            real: Judgement = judge.network(judged.mixture, real_at, judged.label)
            fake: Judgement = judge.network(judged.mixture, fake_at, judged.label)
            loss = self._discriminator_loss(real, fake)
            measured |= {
                f"discriminator_loss{judge.suffix}": loss.detach(),
                f"score_real{judge.suffix}": real.item_scores().detach().mean(),
                f"score_fake{judge.suffix}": fake.item_scores().detach().mean(),
                f"false_positives{judge.suffix}": self.false_positives(real, fake),
            }
            penalty = self._penalties(judge, judged, (real, real_at), (fake, fake_at))
            if penalty is not None:
                loss = loss + penalty
                measured[f"penalty{judge.suffix}"] = penalty.detach()
            self._false_positives.append(share * measured[f"false_positives{judge.suffix}"])
            self.fabric.backward(share * loss)
        return measured

    def _discriminator_loss(self, real: Judgement, fake: Judgement) -> Tensor:
        """The mean over scales."""
        terms = [
            self.loss.discriminator(r.float(), f.float(), self.constants)
            for r, f in zip(real.scores, fake.scores, strict=True)
        ]
        return terms[0] if len(terms) == 1 else torch.stack(terms).mean()

    def _penalties(
        self, judge: _Judge, judged: Judged, real: tuple[Judgement, Tensor], fake: tuple[Judgement, Tensor]
    ) -> Tensor | None:
        terms = []
        for gamma, (judgement, at) in ((self.config.r1, real), (self.config.r2, fake)):
            if at.requires_grad:
                lazy = gamma * self.config.penalty_every
                terms.append(penalties.zero_centred_penalty(judgement.item_scores(), at, lazy))
        if self.config.gradient_penalty > 0:
            at = penalties.between(judged.real, judged.fake)
            score = judge.network(judged.mixture, at, judged.label).item_scores()
            terms.append(penalties.one_centred_penalty(score, at, self.config.gradient_penalty))
        return torch.stack(terms).sum() if terms else None

    def apply(self) -> Measured:
        """Sum gradients over processes, clip them and take the step of each discriminator."""
        measured: Measured = {}
        for judge in self.judges:
            sum_gradients(self.fabric, judge.network)
            if all(weight.grad is None for weight in judge.network.parameters()):
                continue  # nothing to judge in this view; a scaler of 16 bits would not take such a step
            # Overflow is no error here: at 16 bits the scaler skips such a step, otherwise the generator's loss tells.
            norm = self.fabric.clip_gradients(
                judge.network, judge.optimiser, max_norm=self.config.clip_norm, error_if_nonfinite=False
            )
            judge.optimiser.step()
            if self.config.clip_weights > 0:
                penalties.clip_weights(judge.network, self.config.clip_weights)
            if norm is not None:
                measured[f"discriminator_gradient_norm{judge.suffix}"] = norm.detach()
        self.updates += 1
        if self.config.controller.enabled and self._false_positives:
            # Shares sum to one over batches and processes, for each discriminator.
            positives = torch.stack(self._false_positives).sum() / len(self.judges)
            observed = float(sum_over_processes(self.fabric, positives))
            self.generator_rate_scale = self.controller.observe(observed)
            measured["generator_rate_scale"] = positives.new_tensor(self.generator_rate_scale)
        return measured

    def objective(
        self, reconstruction: Tensor | None, evidence: Evidence | Judged, output: Tensor, share: float, step: int
    ) -> tuple[Tensor, Measured]:
        """Return what the generator minimises; no gradient reaches a discriminator.

        Args:
            reconstruction: Multiplied by its own share; None where there is no such loss.
            evidence: Examples by view, with gradients.
            output: The generator's output, where gradients are balanced.
            share: Of the examples of this step that are judged here.
            step: The current one.
        """
        losses = self.generator_losses(evidence)
        ramp = self._ramp(step)
        weights = {name: ramp * getattr(self.config, WEIGHTS[name]) for name in losses}
        measured = {name: loss.detach() for name, loss in losses.items()}
        if self.config.balance:
            if reconstruction is not None:
                losses["reconstruction"], weights["reconstruction"] = reconstruction, 1.0
            return share * self.balancer.combine(losses, weights, output), measured
        total = reconstruction
        for name, loss in losses.items():
            term = (weights[name] * share) * loss
            total = term if total is None else total + term
        assert total is not None
        return total, measured

    def generator_losses(self, evidence: Evidence | Judged) -> dict[str, Tensor]:
        """The generator's losses before weighting: adversarial, and whatever else the recipe asks for.

        Each is the mean over the discriminators that had something to judge.
        """
        for judge in self.judges:
            judge.network.requires_grad_(False)
        adversarial, features, moments = [], [], []
        for judge, judged in self._pairs(evidence):
            fake: Judgement = judge.network(judged.mixture, judged.fake, judged.label)
            matches = self.config.feature_matching > 0
            real = fake
            if self.loss.compares or matches:
                with torch.no_grad():
                    real = judge.network(judged.mixture, judged.real, judged.label)
            terms = [self.loss.generator(r.float(), f.float()) for r, f in zip(real.scores, fake.scores, strict=True)]
            adversarial.append(terms[0] if len(terms) == 1 else torch.stack(terms).mean())
            if matches:
                features.append(penalties.feature_distance(real.features, fake.features, judged.paired))
            if self.config.moment_matching > 0:
                moments.append(penalties.moment_distance(judged.real, judged.fake, judged.label))
        found = {"adversarial": adversarial, "feature_matching": features, "moment_matching": moments}
        return {
            name: values[0] if len(values) == 1 else torch.stack(values).mean()
            for name, values in found.items()
            if values
        }

    def _pairs(self, evidence: Evidence | Judged) -> list[tuple[_Judge, Judged]]:
        """Each discriminator with what it looks at, under instance noise where the recipe asks for it."""
        by_view = {"bands": evidence} if isinstance(evidence, Judged) else evidence
        deviation = penalties.instance_noise_at(
            self.updates, self.config.instance_noise, self.config.instance_noise_steps
        )
        return [
            (judge, _noisy(by_view[judge.view], judge.view, deviation))
            for judge in self.judges
            if judge.view in by_view
        ]

    def false_positives(self, real: Judgement, fake: Judgement) -> Tensor:
        """Share of generated patches judged real, a detached scalar.

        Judged real is what scores above the loss's own boundary, or, where only differences of scores mean something,
        above the middle between the mean scores of real and generated examples.
        """
        boundary = GAN_LOSSES[self.config.loss].boundary
        shares = []
        for r, f in zip(real.scores, fake.scores, strict=True):
            limit = 0.5 * (r.detach().mean() + f.detach().mean()) if boundary is None else boundary
            shares.append((f.detach() > limit).float().mean())
        return torch.stack(shares).mean()

    @torch.no_grad()
    def rate(self, evidence: Evidence | Judged) -> dict[str, tuple[Tensor, Tensor]]:
        """Scores `[P]` of real and of generated examples by discriminator, as in evaluation: nothing learns."""
        by_view = {"bands": evidence} if isinstance(evidence, Judged) else evidence
        found = {}
        for judge in self.judges:
            judged = by_view.get(judge.view)
            if judged is None:
                continue
            was_training = judge.network.training
            judge.network.eval()
            real, fake = (
                judge.network(judged.mixture, stems, judged.label).item_scores() for stems in (judged.real, judged.fake)
            )
            judge.network.train(was_training)
            found[f"discriminator{judge.suffix}"] = (real, fake)
        return found

    def after_step(self, step: int, generator: nn.Module) -> None:
        """Pass encoder weights on to the generator, where the recipe asks for it."""
        mode = self.config.share_encoder
        if mode == "none" or not self.trains_at(step):
            return
        if mode == "tied" or (step + 1) % self.config.share_every == 0:
            pass_encoder(self._encoder_judge(), self._generator if self._generator is not None else generator)

    def couplings(self) -> Sequence[str]:
        """What ties the examples of a batch together, so that splitting a batch changes the result."""
        unpaired = bool({"vector", "unpaired"} & self.views)
        found = {
            "the loss relativistic_average": self.config.loss == "relativistic_average",
            "moment matching": self.config.moment_matching > 0,
            "feature matching of means": self.config.feature_matching > 0 and unpaired,
            "examples drawn from the whole batch": "unpaired" in self.views,
            "the gradient balancer": self.config.balance,
            "batch normalisation of the discriminator": any(
                isinstance(module, nn.modules.batchnorm._BatchNorm)
                for judge in self.judges
                for module in judge.network.modules()
            ),
        }
        return [name for name, applies in found.items() if applies and self.config.weight > 0]

    def state_dict(self) -> dict[str, Any]:
        """What must survive a stop besides networks and optimisers."""
        return {
            "updates": self.updates,
            "balancer": self.balancer.state_dict(),
            "controller": self.controller.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.updates = int(state["updates"])
        self.balancer.load_state_dict(state["balancer"])
        self.controller.load_state_dict(state["controller"])
        self.generator_rate_scale = self.controller.scale

    def _mean_over_processes(self, value: Tensor) -> Tensor:
        return sum_over_processes(self.fabric, value) / self.fabric.world_size


WEIGHTS = {"adversarial": "weight", "feature_matching": "feature_matching", "moment_matching": "moment_matching"}


def _noisy(judged: Judged, view: str, deviation: float) -> Judged:
    """Both sides under noise relative to the level of the mixture; points take it as it is."""
    if deviation == 0:
        return judged
    scale: Tensor | float = deviation
    if judged.mixture is not None:
        scale = deviation * judged.mixture.flatten(1).square().mean(1).sqrt()
    elif view != "vector":
        scale = deviation * judged.real.flatten(1).square().mean(1).sqrt()
    magnitudes = view in ("bands", "context", "unpaired")
    real, fake = (penalties.instance_noise(side, scale, magnitudes) for side in (judged.real, judged.fake))
    return judged._replace(real=real, fake=fake)
