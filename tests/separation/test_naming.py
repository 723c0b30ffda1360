"""Where files go, and that no two are one."""

from pathlib import Path
from typing import Any

import pytest

from sepgan.errors import UsageError
from sepgan.separation import SeparationOptions, Song, track_name
from sepgan.separation.naming import Job, plan_job, require_distinct

STEMS = ("drums", "vocals")


def job(path: str = "in/Song.flac", folder: str = ".", *, one_file: bool = False, **options: Any) -> Job:
    song = Song(Path(path), Path(folder))
    suffix = ".stem.mp4" if one_file else ".wav"
    return plan_job(
        song, Path("out"), STEMS, SeparationOptions(**options), suffix=suffix, model="m/x", one_file=one_file
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("song.wav", "song"),
        ("a/b.c.flac", "b.c"),
        ("x.stem.mp4", "x"),
        ("Ünï 日本.ogg", "Ünï 日本"),
        ("..wav", "__wav"),
    ],
)
def test_track_names(path: str, name: str) -> None:
    assert track_name(path) == name


@pytest.mark.parametrize(
    ("template", "folder", "expected", "manifest"),
    [
        ("{track}/{stem}.{ext}", "cd 1", "cd 1/Song/vocals.wav", "cd 1/Song/manifest.json"),
        ("{track}_({stem}).{ext}", ".", "Song_(vocals).wav", "Song.manifest.json"),
        ("{model}/{filename}/{instrument}.{codec}", ".", "m_x/Song/vocals.wav", "m_x/Song/manifest.json"),
        ("{stem}/{track}.{ext}", ".", "vocals/Song.wav", "Song.manifest.json"),
        ("all/{relpath}/{foldername}-{track}-{trackext}-{instr}.{format}", "cd 1", "all/cd 1/in-Song-flac-vocals.wav",
         "all/cd 1/Song.manifest.json"),
        ("{{x}}/{track}/{stem}.wav", ".", "{x}/Song/vocals.wav", "{x}/Song/manifest.json"),
    ],
)  # fmt: skip
def test_templates(template: str, folder: str, expected: str, manifest: str) -> None:
    planned = job(folder=folder, filename=template)
    assert planned.targets["vocals"] == Path("out") / expected
    assert planned.manifest == Path("out") / manifest


def test_the_manifest_can_go_elsewhere_or_nowhere() -> None:
    assert job(manifest="{track}.json").manifest == Path("out/Song.json")
    assert job(manifest="off").manifest is None


def test_all_stems_can_go_into_one_file() -> None:
    planned = job(one_file=True)
    assert set(planned.targets.values()) == {Path("out/Song.stem.mp4")}
    assert planned.manifest == Path("out/Song.manifest.json")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{artist}/{stem}.{ext}", r"\{artist\} is not one of \{track\}"),
        ("{track}/{stem:>10}.{ext}", "is not one of"),
        ("{track}/{stem!r}.{ext}", "is not one of"),
        ("{}/{stem}.{ext}", "is not one of"),
        ("{track}/x.{ext}", r"put \{stem\} into it"),
        ("{track/{stem}.{ext}", "cannot be read|is not one of"),
        ("../{track}/{stem}.{ext}", "out of the output folder"),
        ("/tmp/{track}/{stem}.{ext}", "out of the output folder"),
        ("{track}/{stem}.flac", r"must end in \.wav"),
        ("{track}/{stem}", r"must end in \.wav"),
        ("{stem}/", "names no file"),
        ("", "names no file"),
    ],
)
def test_wrong_templates_are_refused(template: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        job(filename=template)


def test_names_too_long_for_a_file_system_are_told() -> None:
    with pytest.raises(UsageError, match="longer than the 255 bytes"):
        job(path="in/" + "日" * 86 + ".wav")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/song.wav", "b/song.flac"),
        ("a/song.wav", "b/SONG.wav"),
        ("a/Caf\u00e9.wav", "b/Cafe\u0301.wav"),
        ("a/STRASSE.wav", "b/straße.wav"),
    ],
)
def test_songs_that_would_share_a_file_are_refused(one: str, other: str) -> None:
    with pytest.raises(UsageError, match="would both be written to"):
        require_distinct([job(one), job(other)])
    require_distinct([job(one), job(other, folder="b")])


def test_manifests_collide_too() -> None:
    with pytest.raises(UsageError, match="would both be written to"):
        require_distinct([job("one.wav", manifest="record.json"), job("two.wav", manifest="record.json")])
    with pytest.raises(UsageError, match="would be a stem and the manifest"):
        require_distinct([job(manifest="{track}/vocals.wav")])


def test_no_song_is_replaced(tmp_path: Path) -> None:
    song = Song(tmp_path / "vocals" / "vocals.wav")
    other = Song(tmp_path / "Other.wav")
    planned = [plan_job(s, tmp_path, STEMS, SeparationOptions(), suffix=".wav", model="m") for s in (song, other)]
    with pytest.raises(UsageError, match="is the song itself"):
        require_distinct(planned)
    with pytest.raises(UsageError, match="is one of the songs"):
        require_distinct([planned[1], plan_job(
            Song(tmp_path / "Other" / "drums.wav"), tmp_path, STEMS, SeparationOptions(), suffix=".wav", model="m"
        )])  # fmt: skip
