"""A toy in place of music: a target that a generator must learn from noise alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.noise import NoiseRecipe
from sepgan.recipe.section import Section


class ToyRecipe(Section):
    """Points of a curve, or sequences of multiples; the two textbook games that teach adversarial training."""

    kind: Literal["curve", "multiples"] = "curve"
    function: Literal["exponential", "sine"] = Field("exponential", description="of `curve`: 1.08^x or 25 + 20 sin")
    multiple: int = Field(5, ge=2, le=50, description="of `multiples`: numbers from 0 to 99 that it divides")
    length: int = Field(10, ge=1, description="of `multiples`: numbers in a sequence")
    noise: NoiseRecipe = NoiseRecipe(dimensions=2)
    widths: tuple[int, ...] = Field((64, 64), min_length=1, description="hidden layers of the generator")
    samples: int = Field(1000, ge=10, description="how many are drawn to measure the error")
    picture: bool = Field(True, description="whether samples.png is drawn when the run ends")

    @model_validator(mode="after")
    def _check(self) -> ToyRecipe:
        if min(self.widths) < 1:
            raise ValueError(f"toy.widths must be at least 1 each, got {list(self.widths)}")
        if self.noise.dimensions < 1:
            raise ValueError("toy.noise.dimensions must be at least 1: a generator of points starts from noise")
        return self
