"""Folders of anybody's music.

`folder`: `<split>/<song>/<stem>.<ext>`, any stems; `stem_folders`: `<split>/<stem>/<song>.<ext>`; `pairs`: as `folder`
with `vocals` and `accompaniment` only; `singles`: `<split>/<recording>.<ext>`, each a recording of one stem alone,
or, where the recipe says `unlabelled`, of a whole song.
"""

from __future__ import annotations

from pathlib import Path

from sepgan.data.track import ACCOMPANIMENT, AudioSource, Track, audio_files, song_folders, split_folder
from sepgan.errors import DatasetError


def folder(root: Path, split: str) -> list[Track]:
    """Songs as folders of stems; `mixture.<ext>` is optional, absent stems are absent.

    Raises:
        DatasetError: The folder is absent or holds no song with audio.
    """
    tracks = []
    for song in song_folders(root, split):
        files = audio_files(song)
        mixture = files.pop("mixture", None)
        if files or mixture:
            stems = {stem: AudioSource(path) for stem, path in files.items()}
            tracks.append(Track(song.name, split, stems, AudioSource(mixture) if mixture else None))
    if not tracks:
        raise DatasetError(f"no track in '{root / split}': expected <song>/<stem>.wav (or flac, ogg, mp3) below it")
    return tracks


def stem_folders(root: Path, split: str) -> list[Track]:
    """Songs spread over one folder a stem; files of one name belong to one song, and `mixture` is optional.

    Raises:
        DatasetError: The folder is absent or holds no song with audio.
    """
    songs: dict[str, dict[str, AudioSource]] = {}
    for stem in song_folders(root, split):
        for name, path in audio_files(stem).items():
            songs.setdefault(name, {})[stem.name.lower()] = AudioSource(path)
    if not songs:
        raise DatasetError(f"no track in '{root / split}': expected <stem>/<song>.wav (or flac, ogg, mp3) below it")
    tracks = []
    for name, stems in sorted(songs.items()):
        mixture = stems.pop("mixture", None)
        tracks.append(Track(name, split, stems, mixture))
    return tracks


def pairs(root: Path, split: str) -> list[Track]:
    """Clips as folders of `vocals` and `accompaniment`.

    Raises:
        DatasetError: The folder is absent, holds no clip, or a clip lacks one of the two.
    """
    tracks = folder(root, split)
    for track in tracks:
        if set(track.stems) != {"vocals", ACCOMPANIMENT}:
            raise DatasetError(
                f"'{track.name}' in '{root / split}' has {', '.join(track.stems)}: expected vocals and accompaniment"
            )
    return tracks


def singles(root: Path, split: str) -> list[Track]:
    """Recordings of one stem alone, such as unaccompanied singing; the recipe says which stem they are.

    Raises:
        DatasetError: The folder is absent or holds no audio.
    """
    base = split_folder(root, split)
    tracks = [Track(name, split, {"solo": AudioSource(path)}) for name, path in audio_files(base).items()]
    if not tracks:
        raise DatasetError(f"no recording in '{base}': expected wav, flac, ogg or mp3 files in it")
    return tracks
