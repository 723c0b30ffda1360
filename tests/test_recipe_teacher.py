"""The section `teacher` of a recipe."""

from pathlib import Path
from typing import Any

import pytest

from sepgan import recipe
from sepgan.errors import RecipeError

SMALL = {"name": "small", "stems": ["vocals", "other"]}


def test_there_is_none_by_default() -> None:
    assert recipe.from_dict(SMALL).teacher is None


def test_defaults_teach_only_where_stems_are_missing() -> None:
    teacher = recipe.from_dict(SMALL | {"teacher": {"model": "any"}}).teacher
    assert teacher is not None
    assert (teacher.weight, teacher.weight_with_stems, teacher.stems, teacher.active) == (1.0, 0.0, {}, True)


def test_it_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("name: small\n")
    overrides = ["teacher.model=spleeter-2stems", "teacher.weight=0.5", "teacher.stems={vocals: [vocals]}"]
    loaded = recipe.load(path, overrides)
    assert loaded.teacher == recipe.TeacherRecipe(model="spleeter-2stems", weight=0.5, stems={"vocals": ("vocals",)})
    assert recipe.from_dict(recipe.to_dict(loaded)) == loaded


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "key 'teacher.model' is missing"),
        ({"model": "m", "wieght": 1}, "unknown key 'teacher.wieght'; did you mean 'teacher.weight'"),
        ({"model": "m", "weight": -1}, "'teacher.weight' = -1: Input should be greater than or equal to 0"),
        ({"model": "m", "weight": float("nan")}, "'teacher.weight' = nan"),
        ({"model": "m", "weight_with_stems": "much"}, "'teacher.weight_with_stems' = 'much'"),
        ({"model": "m", "sha256": "abc"}, "'teacher.sha256' = 'abc'"),
        ({"model": "m", "stems": ["vocals"]}, "'teacher.stems' = \\['vocals'\\]"),
        ({"model": "m", "stems": {"vocals": "vocals"}}, "'teacher.stems.vocals' = 'vocals': must be a list"),
        ({"model": "m", "stems": {"vocals": []}}, "teacher.stems.vocals names no stem of the recipe"),
        ({"model": "m", "stems": {"a": ["vocals"], "b": ["vocals"]}}, "teacher.stems names 'vocals' twice"),
        ({"model": "m", "stems": {"a": ["other", "other"]}}, "teacher.stems names 'other' twice"),
        ({"model": "m", "stems": {"a": ["voice"]}}, "names 'voice', which is none of the stems vocals, other"),
        ("spleeter-2stems", "'teacher' = 'spleeter-2stems': must be a section with keys of its own"),
    ],
)
def test_faults_are_told_in_one_line(section: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.from_dict(SMALL | {"teacher": section})
    assert "\n" not in str(caught.value)
