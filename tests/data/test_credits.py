"""Whose songs they are: told file by file, kept in the header of the model, and refused where a recipe says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from sepgan import checkpoint
from sepgan.data import scan
from sepgan.data.credits import ANY_USE, FILE, Credit, credit_of, for_header, objections, outside, read_credits
from sepgan.data.opening import open_songs
from sepgan.data.store import SampleStore
from sepgan.errors import DatasetError
from sepgan.recipe import Recipe, SourceRecipe, from_dict
from tests import synth


@pytest.mark.parametrize(
    ("licence", "wrong"),
    [
        ("CC0 1.0", []),
        ("BSD 3-clause (MIDI of Freedoom, see its CREDITS); MIT (SoundFont)", []),
        ("CC BY 4.0", ["CC BY 4.0"]),
        ("CC0 1.0; CC BY-NC-SA 4.0 (voice)", ["CC BY-NC-SA 4.0"]),
        ("not CC0 1.0", ["not CC0 1.0"]),
        ("MIT or GPL", ["MIT or GPL"]),
        ("(MIT)", ["not stated"]),
        ("", ["not stated"]),
        ("MIT;", ["not stated"]),
        ("mit", ["mit"]),
    ],
)
def test_a_licence_is_allowed_by_its_exact_name_only(licence: str, wrong: list[str]) -> None:
    assert outside(licence, ANY_USE) == wrong


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("track,licence\na,MIT", "columns track, source, licence"),
        ("track,source,licence\na,,MIT", "line 2: .*must all be there"),
        ("track,source,licence\na,x,MIT\nA,y,MIT", "line 3: 'A' stands there twice"),
    ],
)
def test_a_list_that_says_too_little_is_refused(tmp_path: Path, lines: str, named: str) -> None:
    (tmp_path / FILE).write_text(lines + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=named):
        read_credits(tmp_path)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Two songs, of which the second was rendered."""
    root = synth.folder_tree(tmp_path / "songs")
    second = sorted((root / "train").iterdir())[1]
    known = {
        "midi": {"file": "x.mid"},
        "soundfont": {"file": "F.sf2"},
        "licence": "BSD 3-clause (MIDI); MIT",
        "vocals": [{"file": "v.wav"}, {"file": "v.wav"}],
    }
    (second / "provenance.json").write_text(json.dumps(known), encoding="utf-8")
    return root


def entry(**keys: Any) -> SourceRecipe:
    return SourceRecipe.model_validate({"kind": "folder", "root": "songs", "title": "T", "licence": "CC0 1.0"} | keys)


def test_what_lies_beside_a_file_is_nearer_than_the_recipe(songs: Path) -> None:
    first, second, *_ = scan(entry(), {"songs": songs})
    told = credit_of(first, entry(), {})
    assert (told.source, told.licence) == ("T", "CC0 1.0")
    assert told.files.startswith(f"{first.name}/{{")
    assert all(stem in told.files for stem in first.stems)
    rendered = credit_of(second, entry(), {})
    assert rendered.source == "T: x.mid played with F.sf2, sung by v.wav"
    assert rendered.licence == "BSD 3-clause (MIDI); MIT"
    (songs / FILE).write_text(f"track,source,licence\n{second.name.upper()},a shop,sold\n", encoding="utf-8")
    listed = credit_of(second, entry(), read_credits(songs))
    assert (listed.source, listed.licence) == ("a shop", "sold")
    (second_folder := songs / "train" / second.name / "provenance.json").write_text("{", encoding="utf-8")
    with pytest.raises(DatasetError, match="render the song again"):
        credit_of(second, entry(), {})
    assert second_folder.is_file()


def opened(songs: Path, out: Path, licences: tuple[str, ...]) -> Any:
    recipe: Recipe = from_dict(
        {"name": "x", "data": {"train": [entry().model_dump(exclude_defaults=True)], "licences": licences}}
    )
    return open_songs(recipe, {"songs": songs}, SampleStore(out, 44100), lambda line: None)


def test_a_recipe_refuses_data_under_other_licences_before_it_decodes_them(songs: Path, tmp_path: Path) -> None:
    first = sorted((songs / "train").iterdir())[0].name
    (songs / FILE).write_text(f"track,source,licence\n{first},a shop,CC BY 4.0\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"{first}.*\(a shop\) is under 'CC BY 4.0'"):
        opened(songs, tmp_path / "store", ANY_USE)
    assert not list((tmp_path / "store").rglob("*.npy"))
    credits = [song.credit for song in opened(songs, tmp_path / "store", ())[0]]
    assert "CC BY 4.0" in {credit.licence for credit in credits}
    assert len(opened(songs, tmp_path / "store", (*ANY_USE, "CC BY 4.0"))[0]) == len(credits)


def test_the_header_groups_files_and_keeps_each() -> None:
    plain = for_header([Credit("a.ogg", "s", "MIT"), Credit("b.ogg", "s", "MIT"), Credit("c.ogg", "s", "zlib")])
    assert plain == [
        {"source": "s", "licence": "MIT", "files": ["a.ogg", "b.ogg"]},
        {"source": "s", "licence": "zlib", "files": ["c.ogg"]},
    ]


FREE: dict[str, Any] = {
    "title": "t",
    "licence": "MIT",
    "songs": [{"source": "s", "licence": "MIT", "files": ["a.ogg"]}],
}


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (FREE, None),
        ({"title": "t", "licence": "MIT"}, "no file is listed"),
        (FREE | {"songs": []}, "no file is listed"),
        (FREE | {"songs": [*FREE["songs"], {"source": "s", "licence": "GPL", "files": ["b.ogg"]}]}, "b.ogg: GPL"),
        ({"title": "t", "licence": "not public", "begins_as": "x", "weights": "MIT"}, None),
        ({"title": "t", "licence": "MIT", "begins_as": "x", "weights": "CC BY-NC 4.0"}, "weights of x: CC BY-NC 4.0"),
        (FREE | {"begins_as": "x", "weights": "MIT", "songs": [FREE["songs"][0] | {"licence": ""}]}, "not stated"),
    ],
)
def test_a_list_is_objected_to_unless_every_file_in_it_is_allowed(told: Any, wrong: str | None) -> None:
    found = objections([FREE, told], ANY_USE)
    assert len(found) == (wrong is not None)
    assert wrong is None or wrong in found[0]


def test_the_bundled_model_that_is_called_clean_is() -> None:
    header = checkpoint.read_header(checkpoint.bundled()["clean"])
    assert objections(header.training_data, ANY_USE) == []
    assert outside(header.licence, ANY_USE) == []
    assert set(header.recipe["data"]["licences"]) <= set(ANY_USE)
    assert sum("songs" in told for told in header.training_data) >= len(header.recipe["data"]["train"])
    assert header.recipe.get("teacher") in (None, {}) or not header.recipe["teacher"].get("model")
