"""The training loop of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.section import Section, check_betas


class TrainRecipe(Section):
    """The one loop."""

    steps: int = Field(100_000, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-5, ge=0, description="of the cosine")
    warmup_steps: int = Field(500, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-2, ge=0)
    reconstruction: Literal["magnitude", "phase_sensitive"] = Field("magnitude", description="target of the L1 loss")
    clip_norm: float = Field(5.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    validate_every: int = Field(1000, ge=1)
    validation_s: float = Field(30.0, gt=0, description="seconds of each validation track that are scored")
    log_every: int = Field(50, ge=1)
    save_every: int = Field(500, ge=1)
    fine_tune: str | None = Field(None, description="start from the weights of this model (name or file)")
    weights_dtype: Literal["float32", "float16"] = Field("float32", description="of the checkpoints for separation")

    @model_validator(mode="after")
    def _check(self) -> TrainRecipe:
        check_betas("train.betas", self.betas)
        return self
