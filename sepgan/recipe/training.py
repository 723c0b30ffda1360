"""The training loop of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.section import Section, check_betas

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class TrainRecipe(Section):
    """The one loop."""

    steps: int = Field(100_000, ge=1)
    batch_size: int = Field(16, ge=1, description="excerpts that one process holds at once")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are summed before a step")
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    final_learning_rate: float = Field(1e-5, ge=0, description="where the cosine ends; a plateau goes no lower")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="on the rate when validation does not improve")
    plateau_patience: int = Field(5, ge=1, description="validations without improvement before the rate falls")
    warmup_steps: int = Field(500, ge=0, description="steps in which the rate rises linearly")
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-2, ge=0)
    reconstruction: Literal["magnitude", "phase_sensitive", "complex"] = Field(
        "magnitude", description="target of the loss; complex: of real and imaginary part together"
    )
    distance: Literal["l1", "l2"] = Field("l1", description="mean absolute error, or root mean square error")
    clip_norm: float = Field(5.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Precision = "32-true"
    overfit: int | None = Field(None, ge=1, description="train on the first so many excerpts only, over and over")
    patience: int | None = Field(None, ge=1, description="stop after so many validations without improvement")
    rollbacks: int = Field(3, ge=0, description="how often a diverging run goes back to its last state before it stops")
    validate_every: int = Field(1000, ge=1)
    validation_s: float = Field(30.0, gt=0, description="seconds of each validation track that are scored")
    log_every: int = Field(50, ge=1)
    save_every: int = Field(500, ge=1)
    keep_states: int = Field(2, ge=1, description="newest states of the run that are kept")
    report: bool = Field(True, description="write run.html at each validation, with excerpts to hear")
    fine_tune: str | None = Field(None, description="start from the weights of this model (name or file)")
    frozen: tuple[str, ...] = Field((), description="parts of the generator that keep the weights they begin with")
    weights_dtype: Literal["float32", "float16"] = Field("float32", description="of the checkpoints for separation")

    @model_validator(mode="after")
    def _check(self) -> TrainRecipe:
        check_betas("train.betas", self.betas)
        return self
