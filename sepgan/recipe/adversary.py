"""The adversary of a recipe."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from sepgan.recipe.section import Section, check_betas

Activation = Literal["none", "sigmoid", "tanh", "energy"]


class LossTraits(NamedTuple):
    """What a GAN loss asks of the discriminator it is given to."""

    activations: tuple[Activation, ...]  # of the discriminator's output that fit
    boundary: float | None  # scores above it are judged real; None: half way between the means of real and generated
    smooths: bool = False  # whether the label of real examples may be softened
    why: str = ""  # what is wrong with other activations


TAKES_SIGMOID = "it takes the sigmoid itself, in a form that stays exact far from zero"
UNBOUNDED = "a critic's scores are distances and must not be bounded"
GAN_LOSSES: dict[str, LossTraits] = {
    "minimax": LossTraits(("none",), 0.0, smooths=True, why=TAKES_SIGMOID),
    "non_saturating": LossTraits(("none",), 0.0, smooths=True, why=TAKES_SIGMOID),
    "least_squares": LossTraits(("none", "sigmoid"), 0.5, smooths=True, why="its targets are 0 and 1"),
    "hinge": LossTraits(("none", "tanh"), 0.0, why="its margins lie at -1 and 1"),
    "margin": LossTraits(("energy",), None, why="it judges energies, which have a lower bound"),
    "wasserstein": LossTraits(("none",), None, why=UNBOUNDED),
    "wasserstein_gp": LossTraits(("none",), None, why=UNBOUNDED),
    "relativistic_average": LossTraits(("none",), None, why=TAKES_SIGMOID),
    "relativistic_pairing": LossTraits(("none",), None, why=TAKES_SIGMOID),
    "textbook": LossTraits(("none",), 0.0, why=TAKES_SIGMOID),
}


class DiscriminatorRecipe(Section):
    """One discriminator."""

    kind: str = Field("patch", description="a name of sepgan.models.DISCRIMINATORS: patch, context, stft, encoder, mlp")
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    flat_levels: int = Field(0, ge=0, description="how many of the last levels of a patch network keep the resolution")
    power: float = Field(0.3, gt=0, le=1, description="magnitudes are compressed as |X|^power")
    n_ffts: tuple[int, ...] = Field((2048, 1024, 512), min_length=1, description="scales of `stft`")
    conditional: bool = Field(True, description="whether it sees the mixture beside the stem")
    unpaired: bool = Field(
        False, description="generated stems are drawn from all of the batch, also from songs whose stems are not known"
    )
    labels: Literal["embedding", "separate", "none"] = Field(
        "embedding", description="one network told which stem it sees, one network a stem, or one that is not told"
    )
    spectral_norm: bool = True
    activation: Activation = Field("none", description="of its output; energy is -softplus")

    @model_validator(mode="after")
    def _check_network(self) -> DiscriminatorRecipe:
        if min(self.widths) < 1:
            raise ValueError(f"adversary.widths must be at least 1 each, got {list(self.widths)}")
        if self.flat_levels >= len(self.widths):
            raise ValueError(
                f"adversary.flat_levels must be below the number of widths, {len(self.widths)}, got {self.flat_levels}"
            )
        if self.unpaired and (self.conditional or self.kind != "patch"):
            raise ValueError(
                "adversary.unpaired compares stems of different songs: it needs adversary.kind 'patch' and "
                "adversary.conditional false"
            )
        if min(self.n_ffts) < 16 or any(size % 4 for size in self.n_ffts):
            raise ValueError(f"adversary.n_ffts must be multiples of 4 from 16 on, got {list(self.n_ffts)}")
        return self


class ControllerRecipe(Section):
    """Regulates the generator's learning rate by how often its stems pass for real."""

    enabled: bool = False
    window: int = Field(100, ge=1, description="steps over which false positives are counted")
    low: float = Field(0.1, ge=0, le=1, description="a smaller share of generated stems judged real lowers the rate")
    high: float = Field(0.45, ge=0, le=1, description="a larger share raises it")
    factor: float = Field(0.8, gt=0, lt=1, description="the rate is multiplied or divided by it")
    floor: float = Field(0.1, gt=0, le=1, description="smallest share of the scheduled rate")
    ceiling: float = Field(2.0, ge=1, description="largest share of the scheduled rate")

    @model_validator(mode="after")
    def _check(self) -> ControllerRecipe:
        if self.low >= self.high:
            raise ValueError(
                f"adversary.controller.low must be below adversary.controller.high, got {self.low} and {self.high}"
            )
        return self


class AdversaryRecipe(DiscriminatorRecipe):
    """The discriminators, their optimisers, and how much their opinion counts. Weight 0 switches all of it off."""

    weight: float = Field(0.0, ge=0, description="of the adversarial loss beside reconstruction")
    loss: str = Field("least_squares", description=f"one of {', '.join(GAN_LOSSES)}")
    margin: float = Field(1.0, gt=0, description="of the loss `margin`: the energy that generated stems should exceed")
    start_step: int = Field(0, ge=0, description="first step at which the discriminator trains")
    warmup_steps: int = Field(0, ge=0, description="steps in which the discriminator trains alone after start_step")
    ramp_steps: int = Field(0, ge=0, description="steps over which all weights then rise linearly")
    also: tuple[DiscriminatorRecipe, ...] = Field((), description="further discriminators beside the first")
    optimiser: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.9)
    clip_norm: float = Field(10.0, gt=0)
    updates: int = Field(1, ge=1, description="steps of the discriminators for each step of the generator")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="real examples count as 1 minus this")
    instance_noise: float = Field(0.0, ge=0, description="deviation of noise on all that is judged, of the mixture's")
    instance_noise_steps: int = Field(0, ge=0, description="steps over which that noise falls to zero; 0: it stays")
    r1: float = Field(0.0, ge=0, description="gamma of the penalty on gradients at real examples")
    r2: float = Field(0.0, ge=0, description="gamma of the penalty on gradients at generated examples")
    penalty_every: int = Field(1, ge=1, description="R1 and R2 are taken every so many steps and count as often more")
    gradient_penalty: float = Field(0.0, ge=0, description="lambda of the penalty between real and generated")
    clip_weights: float = Field(0.0, ge=0, description="bound of the discriminator's weights; 0: none")
    feature_matching: float = Field(0.0, ge=0, description="weight of the distance of its hidden features")
    moment_matching: float = Field(0.0, ge=0, description="weight of the distance of mean and deviation")
    balance: bool = Field(False, description="weights are shares of the gradient at the separated waveform")
    balance_decay: float = Field(0.999, ge=0, lt=1, description="of the mean gradient norms")
    controller: ControllerRecipe = ControllerRecipe()
    share_encoder: Literal["none", "copy", "tied"] = Field(
        "none", description="whether the generator takes the weights of an `encoder` discriminator"
    )
    share_every: int = Field(100, ge=1, description="steps between two copies")

    @property
    def discriminators(self) -> tuple[DiscriminatorRecipe, ...]:
        """The first discriminator and those beside it."""
        return (self, *self.also)

    @model_validator(mode="after")
    def _check(self) -> AdversaryRecipe:
        check_betas("adversary.betas", self.betas)
        if self.loss not in GAN_LOSSES:
            raise ValueError(f"adversary.loss '{self.loss}' is unknown: choose one of {', '.join(GAN_LOSSES)}")
        traits = GAN_LOSSES[self.loss]
        for discriminator in self.discriminators:
            if discriminator.activation not in traits.activations:
                raise ValueError(
                    f"adversary.activation '{discriminator.activation}' does not fit adversary.loss '{self.loss}': "
                    f"{traits.why}; use {' or '.join(traits.activations)}"
                )
        self._check_regularisers(traits)
        kinds = [discriminator.kind for discriminator in self.discriminators]
        if self.share_encoder != "none" and "encoder" not in kinds:
            raise ValueError(
                "adversary.share_encoder needs a discriminator whose encoder is the generator's: add kind 'encoder'"
            )
        return self

    def _check_regularisers(self, traits: LossTraits) -> None:
        if self.label_smoothing > 0 and not traits.smooths:
            able = ", ".join(name for name, loss in GAN_LOSSES.items() if loss.smooths)
            raise ValueError(
                f"adversary.label_smoothing softens a label, which adversary.loss '{self.loss}' has not: "
                f"set it to 0 or use {able}"
            )
        normed = all(discriminator.spectral_norm for discriminator in self.discriminators)
        if self.clip_weights > 0 and any(discriminator.spectral_norm for discriminator in self.discriminators):
            raise ValueError(
                "adversary.clip_weights bounds weights that adversary.spectral_norm scales again: use one of them"
            )
        if self.loss == "wasserstein" and not (self.clip_weights or self.gradient_penalty or normed):
            raise ValueError(
                "adversary.loss 'wasserstein' needs a bounded critic: set adversary.clip_weights, for instance to 0.01"
            )
        if self.loss == "wasserstein_gp" and not self.gradient_penalty:
            raise ValueError("adversary.loss 'wasserstein_gp' needs adversary.gradient_penalty, for instance 10")
        if self.feature_matching > 0 and not self.weight > 0:
            raise ValueError("adversary.feature_matching needs a discriminator that trains: set adversary.weight")
