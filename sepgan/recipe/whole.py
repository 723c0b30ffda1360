"""A whole recipe."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from sepgan.recipe.adversary import AdversaryRecipe
from sepgan.recipe.data import DataRecipe
from sepgan.recipe.networks import FrontendRecipe, GeneratorRecipe
from sepgan.recipe.section import Section
from sepgan.recipe.separation import SeparationRecipe
from sepgan.recipe.teacher import TeacherRecipe
from sepgan.recipe.toy import ToyRecipe
from sepgan.recipe.training import TrainRecipe

MUSDB_STEMS = ("drums", "bass", "other", "vocals")


class Recipe(Section):
    """A whole run."""

    name: str
    description: str = ""
    licence: str = Field("not stated", description="of the weights that come out")
    seed: int = Field(0, ge=0)
    stems: tuple[str, ...] = Field(MUSDB_STEMS, min_length=1)
    frontend: FrontendRecipe = FrontendRecipe()
    generator: GeneratorRecipe = GeneratorRecipe()
    adversary: AdversaryRecipe = AdversaryRecipe()
    data: DataRecipe = DataRecipe()
    train: TrainRecipe = TrainRecipe()
    separation: SeparationRecipe = SeparationRecipe()
    teacher: TeacherRecipe | None = Field(None, description="a model to learn from where true stems are missing")
    toy: ToyRecipe | None = Field(None, description="what is trained in place of music")

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if len(set(self.stems)) != len(self.stems):
            raise ValueError(f"stems must differ, got {', '.join(self.stems)}")
        for stem in self.stems:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", stem) or stem == "mixture":
                raise ValueError(f"'{stem}' cannot name a stem: use lower-case letters, digits, - and _, not 'mixture'")
        for stem in [part for parts in (self.teacher.stems if self.teacher else {}).values() for part in parts]:
            if stem not in self.stems:
                raise ValueError(f"teacher.stems names '{stem}', which is none of the stems {', '.join(self.stems)}")
        fine, generator = self.separation.fine_bands, self.generator
        if fine is not None and not (generator.kind == "branched" and generator.full_resolution):
            raise ValueError(
                f"separation.fine_bands {fine} needs a generator of kind 'branched' with full_resolution, got "
                f"'{generator.kind}' and {str(generator.full_resolution).lower()}: leave it out"
            )
        return self
