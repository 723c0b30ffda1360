"""Recipes: strict keys, strict types, overrides, and every one that ships."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sepgan import recipe
from sepgan.errors import RecipeError

SHIPPED = sorted(Path(__file__).parents[1].glob("recipes/*.yaml"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(
        tmp_path / "small.yaml", "name: small\ntrain: {steps: 5}\ndata:\n  train:\n    - {kind: folder, root: a}\n"
    )


def test_defaults_fill_what_a_recipe_leaves_out() -> None:
    plain = recipe.from_dict({"name": "plain"})
    assert plain.stems == ("drums", "bass", "other", "vocals")
    assert plain.frontend.n_fft == 4096
    assert plain.adversary.weight == 0


def test_a_recipe_survives_json() -> None:
    for path in SHIPPED:
        loaded = recipe.load(path)
        assert recipe.from_dict(recipe.to_dict(loaded)) == loaded


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        recipe.from_dict({"name": "x"}).train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "unknown", "nearest"),
    [
        ({"stepms": ["a"]}, "stepms", "stems"),
        ({"steps": 5}, "steps", "train.steps"),
        ({"learning_rat": 5}, "learning_rat", "train.learning_rate"),
        ({"train": {"step": 5}}, "train.step", "train.steps"),
        ({"train": {"mel_bands": 64}}, "train.mel_bands", "frontend.mel_bands"),
        ({"frontend": {"hop": 64}}, "frontend.hop", "frontend.hop_length"),
        ({"adversary": {"weigth": 1}}, "adversary.weigth", "adversary.weight"),
        ({"data": {"trian": []}}, "data.trian", "data.train"),
        ({"data": {"train": [{"kind": "a", "root": "b", "licens": 2}]}}, "data.train.0.licens", "data.train.0.licence"),
        ({"data": {"validation": [{"pslit": 2}]}}, "data.validation.0.pslit", "data.validation.0.split"),
    ],
)
def test_an_unknown_key_names_the_nearest_one_by_its_full_path(raw: dict[str, Any], unknown: str, nearest: str) -> None:
    complete = {"name": "x", **raw}
    if "validation" in raw.get("data", {}):
        complete["data"]["validation"][0] |= {"kind": "folder", "root": "r"}
    with pytest.raises(RecipeError, match=f"unknown key '{unknown}'; did you mean '{nearest}'"):
        recipe.from_dict(complete)


def test_a_key_unlike_any_other_still_lists_the_valid_ones() -> None:
    with pytest.raises(
        RecipeError, match=r"unknown key 'train.qqqq'.*valid keys: accumulate, batch_size, .*warmup_steps"
    ):
        recipe.from_dict({"name": "x", "train": {"qqqq": 1}})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"train": {"steps": "many"}}, "'train.steps' = 'many': Input should be a valid integer"),
        ({"train": {"steps": 0}}, "'train.steps' = 0: .*greater than or equal to 1"),
        ({"train": {"ema": 1.0}}, "'train.ema' = 1.0: .*less than 1"),
        ({"train": {"learning_rate": float("inf")}}, "'train.learning_rate' = inf: .*finite"),
        ({"train": {"betas": [0.9, 1.0]}}, r"train.betas must be from 0 to below 1 each, got \[0.9, 1.0\]"),
        ({"train": {"precision": "8-bit"}}, "'train.precision' = '8-bit': Input should be '32-true', 'bf16-mixed'"),
        ({"train": 3}, "'train' = 3: must be a section"),
        ({"stems": "vocals"}, "'stems' = 'vocals': must be a list"),
        ({"stems": []}, r"'stems' = \[\]: "),
        ({"stems": ["drums", "drums"]}, "stems must differ, got drums, drums"),
        ({"stems": ["drums", "../secret"]}, "'../secret' cannot name a stem"),
        ({"stems": ["mixture"]}, "'mixture' cannot name a stem"),
        ({"seed": -1}, "'seed' = -1"),
        ({"generator": {"kernel": 4}}, "generator.kernel must be odd, got 4"),
        ({"generator": {"widths": [8, 0]}}, "generator.widths must be at least 1 each"),
        ({"adversary": {"widths": [0]}}, "adversary.widths must be at least 1 each"),
        ({"adversary": {"betas": [-0.1, 0.5]}}, "adversary.betas must be from 0"),
        ({"data": {"gain_db": [3, -3]}}, r"data.gain_db must rise from lowest to highest, got \[3.0, -3.0\]"),
        ({"data": {"train": [{"kind": "folder"}]}}, "key 'data.train.0.root' is missing"),
        ({"frontend": {"mel_bands": 64, "bins": 64}}, "frontend.mel_bands and frontend.bins exclude each other"),
        ({"separation": {"fine_bands": 40}}, "'separation.fine_bands' = 40"),
        (
            {"separation": {"fine_bands": 64}},
            "separation.fine_bands 64 needs a generator of kind 'branched' .* 'classic'",
        ),
        (
            {"separation": {"fine_bands": 64}, "generator": {"kind": "branched"}},
            "separation.fine_bands 64 needs .* full_resolution, got 'branched' and false",
        ),
        ({"frontend": {"n_fft": 1024, "hop_length": 512}}, "frontend.hop_length must be at most n_fft / 3"),
        ({"frontend": {"n_fft": 1023, "hop_length": 256}}, "frontend.n_fft must be even, got 1023"),
        ({"frontend": {"n_fft": 1024, "hop_length": 256, "bins": 514}}, "frontend.bins must be at most .* = 513"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.from_dict({"name": "x", **raw})
    assert "\n" not in str(caught.value)


def test_a_recipe_needs_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "nameless.yaml", "train: {steps: 5}\n")
    with pytest.raises(RecipeError, match=r"nameless.yaml: key 'name' is missing"):
        recipe.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: [unclosed", "cannot be read as YAML"),
        ("- a\n- b\n", "must be a mapping of keys, got list"),
        ("", "must be a mapping of keys, got NoneType"),
        ("just words", "must be a mapping of keys, got str"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.load(write(tmp_path / "broken.yaml", content))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        recipe.load(tmp_path / "noise.yaml")


def test_an_unknown_name_lists_the_recipes_that_ship() -> None:
    with pytest.raises(RecipeError, match=r"recipe 'musdb_unet' not found: .*musdb_unet_gan"):
        recipe.load("musdb_unet")


def test_overrides_change_single_keys(small: Path) -> None:
    changed = recipe.load(
        small, ["train.steps=7", "stems=[vocals, other]", "frontend.bins=null", "train.learning_rate=1e-4"]
    )
    assert changed.train.steps == 7
    assert changed.stems == ("vocals", "other")
    assert changed.frontend.bins is None
    assert changed.train.learning_rate == 1e-4


def test_overrides_reach_into_lists(small: Path) -> None:
    changed = recipe.load(small, ["data.train.0.kind=musdb18hq", "data.train.0.include=A*"])
    assert (changed.data.train[0].kind, changed.data.train[0].include) == ("musdb18hq", "A*")


def test_an_override_may_fill_an_empty_section(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.yaml", "name: empty\ntrain:\n")
    assert recipe.load(path, ["train.steps=3"]).train.steps == 3


def test_a_value_may_hold_an_equals_sign(small: Path) -> None:
    assert recipe.load(small, ["description=a=b"]).description == "a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", "must look like key.sub=value"),
        ("=5", "must look like key.sub=value"),
        ("train.step=5", "did you mean 'train.steps'"),
        ("train.steps=[", "the value is not YAML"),
        ("train.steps=many", "'train.steps' = 'many'"),
        ("name.first=x", "'name' is a single value and has no keys"),
        ("name.first.letter=x", "'name' is a single value and has no keys"),
        ("data.train.1.kind=pairs", "'1' must be a position from 0 to 0"),
        ("data.train.first.kind=pairs", "'first' must be a position from 0 to 0"),
        ("data.train.-1.kind=pairs", "'-1' must be a position from 0 to 0"),
        ("data.train.²=pairs", "'²' must be a position from 0 to 0"),
        ("stems.0=vocals", "stems"),
    ],
)
def test_a_bad_override_is_named(small: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.load(small, [override])
    assert "\n" not in str(caught.value)


def test_an_override_into_an_empty_list_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.yaml", "name: empty\ndata: {train: []}\n")
    with pytest.raises(RecipeError, match="the list is empty"):
        recipe.load(path, ["data.train.0.kind=folder"])


def test_recipes_ship() -> None:
    names = {path.stem for path in SHIPPED}
    assert {"default", "musdb_unet_gan", "musdb_mel_unet_gan"} <= names
    for name in names:
        if not name.startswith("toy_") and not name.endswith("_debug"):  # toys train in a minute themselves
            assert f"{name}_debug" in names, "every recipe has a twin that trains in seconds"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_name_and_path(path: Path) -> None:
    by_name = recipe.load(path.stem)
    assert by_name.name == path.stem
    assert by_name == recipe.load(path) == recipe.load(f"recipes/{path.name}")
    assert by_name.data.train or by_name.toy
    assert by_name.licence != "not stated" or path.stem in ("default_debug", "clean_debug")


def test_reading_a_recipe_imports_no_torch() -> None:
    code = "import sys; from sepgan import recipe; recipe.load('default'); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML lets the last one win without a word."""
    file = tmp_path / "twice.yaml"
    file.write_text("name: x\ntrain:\n  steps: 5\n  batch_size: 2\n  steps: 7\n")
    with pytest.raises(
        RecipeError, match=r"twice\.yaml' cannot be read as YAML: key 'steps' stands twice, again in line 5"
    ):
        recipe.load(file)
