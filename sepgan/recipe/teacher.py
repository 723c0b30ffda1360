"""The teacher of a recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from sepgan.recipe.section import Section


class TeacherRecipe(Section):
    """A finished model whose estimates stand for stems that nobody has. Both weights 0 switch it off."""

    model: str = Field(description="a name of `sepgan models list`, or a file")
    stems: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="stems of the teacher, and which of the recipe's add up to each; none: those of the same name",
    )
    weight: float = Field(1.0, ge=0, description="beside reconstruction, where the true stem is not known")
    weight_with_stems: float = Field(0.0, ge=0, description="where it is known")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="that the model's header must state")

    @property
    def active(self) -> bool:
        """Whether it counts at all."""
        return self.weight > 0 or self.weight_with_stems > 0

    @model_validator(mode="after")
    def _check(self) -> TeacherRecipe:
        taught = [stem for parts in self.stems.values() for stem in parts]
        for stem, parts in self.stems.items():
            if not parts:
                raise ValueError(f"teacher.stems.{stem} names no stem of the recipe: list those that add up to it")
        for stem in taught:
            if taught.count(stem) > 1:
                raise ValueError(f"teacher.stems names '{stem}' twice: a stem can be part of one estimate only")
        return self
