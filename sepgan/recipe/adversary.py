"""The adversary of a recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from sepgan.recipe.section import Section, check_betas


class AdversaryRecipe(Section):
    """The discriminator, its optimiser, and how much its opinion counts. Weight 0 switches all of it off."""

    kind: str = "patch"
    weight: float = Field(0.0, ge=0, description="share of the least-squares adversarial loss beside reconstruction")
    start_step: int = Field(0, ge=0, description="first step at which the discriminator trains")
    warmup_steps: int = Field(0, ge=0, description="steps in which the discriminator trains alone after start_step")
    ramp_steps: int = Field(0, ge=0, description="steps over which the weight then rises linearly")
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    power: float = Field(0.3, gt=0, le=1, description="magnitudes are compressed as |X|^power")
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.9)
    clip_norm: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> AdversaryRecipe:
        if min(self.widths) < 1:
            raise ValueError(f"adversary.widths must be at least 1 each, got {list(self.widths)}")
        check_betas("adversary.betas", self.betas)
        return self
