"""How a model is best run."""

from __future__ import annotations

from pydantic import Field

from sepgan.recipe.section import Section


class SeparationRecipe(Section):
    """What separates songs if nothing else is asked for; training and validation know none of it."""

    repetition: int = Field(
        0, ge=0, description="passes that average all stems but vocals over similar moments; then patterns, strokes"
    )
    fine_bands: int | None = Field(
        None,
        ge=32,
        multiple_of=32,
        description="branched at the full resolution: above, two bands and two frames share a mask, which is less work",
    )
