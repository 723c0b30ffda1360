"""From what a user names to songs."""

import os
from pathlib import Path

import pytest

from sepgan.errors import AudioError, SepganError, UsageError
from sepgan.separation import Song, find_songs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "music"
    for name in ("b.flac", "a.WAV", "notes.txt", "._a.wav", "cd 1/c.mp3", "cd 1/more/d.stem.mp4", ".hidden/e.wav"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def places(songs: list[Song], root: Path) -> list[tuple[str, str]]:
    return [(song.path.relative_to(root).as_posix(), song.folder.as_posix()) for song in songs]


def test_a_folder_gives_its_tree_by_name_and_no_hidden_files(tree: Path) -> None:
    assert places(find_songs([tree]), tree) == [
        ("a.WAV", "."),
        ("b.flac", "."),
        ("cd 1/c.mp3", "cd 1"),
        ("cd 1/more/d.stem.mp4", "cd 1/more"),
    ]


def test_a_pattern_is_mirrored_from_its_first_wildcard_on(tree: Path) -> None:
    found = find_songs([f"{tree}/**/*.mp[34]"])
    assert places(found, tree) == [("cd 1/c.mp3", "cd 1"), ("cd 1/more/d.stem.mp4", "cd 1/more")]
    assert places(find_songs([f"{tree}/cd 1/*.mp3"]), tree) == [("cd 1/c.mp3", ".")]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree: Path) -> None:
    odd = tree / "take [1].wav"
    odd.write_bytes(b"x")
    assert find_songs([odd]) == [Song(odd)]


def test_a_list_is_relative_to_itself_and_may_hold_folders_and_patterns(tree: Path) -> None:
    listing = tree / "list.m3u8"
    listing.write_text("﻿#EXTM3U\n\ncd 1/c.mp3\n  b.flac\n*.WAV\ncd 1/more\n", encoding="utf-8")
    found = [song.path.name for song in find_songs([f"@{listing}"])]
    assert found == ["c.mp3", "b.flac", "a.WAV", "d.stem.mp4"]


def test_a_song_named_twice_comes_once(tree: Path) -> None:
    found = find_songs([tree / "b.flac", tree, tree / "cd 1" / ".." / "a.WAV"])
    assert [song.path.name for song in found] == ["b.flac", "a.WAV", "c.mp3", "d.stem.mp4"]


def test_stems_of_an_earlier_run_are_no_songs(tree: Path) -> None:
    out = tree / "stems"
    (out / "b").mkdir(parents=True)
    (out / "b" / "vocals.wav").write_bytes(b"x")
    assert len(find_songs([tree], leave_out=out)) == 4
    assert len(find_songs([f"{tree}/**/*"], leave_out=out)) == 5  # a pattern asks for notes.txt itself
    assert len(find_songs([tree])) == 5


def test_a_missing_file_waits_for_its_turn_to_fail(tree: Path) -> None:
    assert find_songs([tree / "no.wav"]) == [Song(tree / "no.wav")]


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ("{root}/*.ogg", AudioError, "no file matches"),
        ("{root}/empty", AudioError, "holds no songs"),
        ("@{root}/no.txt", AudioError, "cannot be read: No such file"),
        ("@{root}/blank.txt", AudioError, "names no songs"),
        ("@{root}/binary.txt", AudioError, "is not UTF-8 text"),
    ],
)
def test_what_names_no_song_is_told(tree: Path, entry: str, error: type[SepganError], message: str) -> None:
    (tree / "empty").mkdir()
    (tree / "blank.txt").write_text("# nothing\n")
    (tree / "binary.txt").write_bytes(b"\xff\xfe\x00RIFF")
    with pytest.raises(error, match=message) as caught:
        find_songs([entry.format(root=tree)])
    assert "\n" not in str(caught.value)


def test_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no songs are named"):
        find_songs([])


def test_an_unreadable_folder_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not hold for root, so the system's answer is made."""
    real = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "cd 1":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AudioError, match=r"cd 1 cannot be read: Permission denied"):
        find_songs([tree])
