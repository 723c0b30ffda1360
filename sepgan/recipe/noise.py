"""The noise of a recipe that a generator starts from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.section import Section


class NoiseRecipe(Section):
    """Random numbers z that a generator receives beside whatever else it sees."""

    dimensions: int = Field(0, ge=0, description="numbers an example, or channels of a spectrogram; 0: no noise")
    distribution: Literal["normal", "rescaled", "uniform", "mixture"] = "normal"
    mean: float = Field(0.0, description="of `rescaled`: mean + deviation * N(0, 1) + N(0, 0.01)")
    deviation: float = Field(1.0, gt=0, description="of `rescaled`")
    low: float = Field(-1.0, description="of `uniform`")
    high: float = Field(1.0, description="of `uniform`")
    centres: tuple[float, ...] = Field((-1.0, 1.0), min_length=1, description="of the Gaussians of `mixture`")
    spread: float = Field(0.25, gt=0, description="deviation of each Gaussian of `mixture`")

    @model_validator(mode="after")
    def _check(self) -> NoiseRecipe:
        if self.low >= self.high:
            raise ValueError(f"noise.low must be below noise.high, got {self.low} and {self.high}")
        return self
