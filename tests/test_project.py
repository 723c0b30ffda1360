"""What a release consists of."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from sepgan import checkpoint, recipe

ROOT = Path(__file__).parent.parent
MAXIMUM_MODEL_MB = 12.0


def test_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == version("sepgan")
    assert f"version: {version('sepgan')}" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_load_under_their_own_name_and_have_a_debug_twin(path: Path) -> None:
    loaded = recipe.load(path)
    assert loaded.name == path.stem
    if loaded.toy is None and not path.stem.endswith("_debug"):  # toys train in a minute themselves
        twin = recipe.load(path.with_name(f"{path.stem}_debug.yaml"))
        assert twin.stems == loaded.stems
        assert twin.train.steps <= 100
        assert twin.train.reconstruction == loaded.train.reconstruction
        assert (twin.frontend.mel_bands is None) == (loaded.frontend.mel_bands is None)


STEMS = {"default": ("drums", "bass", "other", "vocals"), "clean": ("accompaniment", "vocals")}


def test_two_models_are_bundled() -> None:
    assert set(checkpoint.bundled()) == set(STEMS)


@pytest.mark.parametrize("name", STEMS)
def test_bundled_models_are_sound_and_small(name: str) -> None:
    path = checkpoint.bundled()[name]
    header, _ = checkpoint.read(path)
    assert path.stat().st_size < MAXIMUM_MODEL_MB * 1e6
    assert header.stems == STEMS[name]
    assert header.training_data
    assert all(entry["licence"] for entry in header.training_data)


@pytest.mark.parametrize("name", STEMS)
def test_bundled_models_were_trained_by_their_recipes(name: str) -> None:
    header = checkpoint.read_header(checkpoint.bundled()[name])
    shipped = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())
    trained = recipe.to_dict(recipe.from_dict(header.recipe))  # keys that are newer take their defaults
    expected = recipe.to_dict(recipe.from_dict(shipped))
    for part in ("stems", "frontend", "generator", "adversary", "separation", "licence"):
        assert trained[part] == expected[part], part


@pytest.mark.parametrize("name", STEMS)
def test_model_cards_name_every_source_and_licence(name: str) -> None:
    path = checkpoint.bundled()[name]
    card = path.with_suffix(".md").read_text()
    for entry in checkpoint.read_header(path).training_data:
        assert entry["title"].split(" (")[0] in card
        assert entry["licence"].split(" (")[0] in card
