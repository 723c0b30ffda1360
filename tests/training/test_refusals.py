"""What cannot be trained is refused in one line."""

from pathlib import Path

import pytest

from sepgan.errors import DatasetError, OutputError, RecipeError, SepganError
from tests.training.runs import run, tiny


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data.train=[]"], RecipeError, "recipe 'tiny' names no training data: add data.train"),
        (["data.train.0.root=nowhere"], DatasetError, "needs dataset 'nowhere': give its folder with --data nowhere="),
        (["data.train.0.split=test"], DatasetError, "has no split 'test': it holds train, valid"),
        (["data.train.0.include=Z*"], DatasetError, r"no track of .* matches 'Z\*'"),
        (["data.validation.0.split=test"], DatasetError, "has no split 'test'"),
        (["stems=[drums, vocals]"], DatasetError, "has a stem 'bass' that the recipe does not know"),
        (["stems=[vocals]"], RecipeError, "has one stem, 'vocals', whose mask would be 1 everywhere"),
        (["generator.kind=modern"], RecipeError, "generator.kind 'modern' is unknown"),
        (["adversary.kind=judge"], RecipeError, "adversary.kind 'judge' is unknown"),
        (["adversary.widths=[8,8,8,8]", "data.excerpt_s=0.03"], RecipeError, "need 16 frames and bands; .* gives 4"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(
    tmp_path: Path, trees: dict[str, Path], overrides: list[str], error: type[SepganError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        run(tiny(trees, *overrides), tmp_path, trees)
    assert "\n" not in str(caught.value)


def test_a_run_folder_that_cannot_be_made(tmp_path: Path, trees: dict[str, Path]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"run folder '.*' cannot be made: .*choose another --out"):
        run(tiny(trees), tmp_path / "file" / "run", trees)
    (tmp_path / "run" / "train.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"log of the run in '.*' cannot be written"):
        run(tiny(trees), tmp_path / "run", trees)
