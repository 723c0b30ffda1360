"""What there is of a dataset, gaps included: unlike a scan for training, this goes on where something is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sepgan.data import DATASETS
from sepgan.data.folder import folder
from sepgan.data.gtzan import filtered
from sepgan.data.lists import read_list
from sepgan.data.maps import configurations_of
from sepgan.data.musdb18 import STREAMS, songs_hq
from sepgan.data.track import Source, Track, audio_files, files_of, require_root, song_folders
from sepgan.errors import DatasetError

MUSDB_STEMS = STREAMS[1:]


@dataclass(frozen=True)
class Gap:
    """Something that should be there."""

    split: str
    track: str
    stems: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class Inventory:
    """A dataset as it lies there."""

    splits: tuple[str, ...]
    tracks: tuple[Track, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...] = ()


def expected_stems(kind: str) -> tuple[str, ...]:
    """Return the stems that every track of a dataset has."""
    return {"musdb18": MUSDB_STEMS, "musdb18hq": MUSDB_STEMS, "pairs": ("vocals", "accompaniment")}.get(kind, ())


def inventory(kind: str, root: Path, splits: Sequence[str] | None = None) -> Inventory:
    """List the tracks of a dataset and what is missing.

    Args:
        kind: A name of `DATASETS`.
        root: Its folder, or the file of a list.
        splits: Which parts; None takes all that are there.

    Raises:
        DatasetError: There is no such folder or split, or it holds nothing at all.
    """
    wanted = tuple(splits) if splits else splits_of(kind, root)
    tracks: list[Track] = []
    gaps: list[Gap] = []
    empty: DatasetError | None = None
    for split in wanted:
        try:
            found = _scan(kind, root, split)
        except DatasetError as error:
            if splits:
                raise
            empty = error
            continue
        tracks += found
        gaps += _gaps(kind, root, split, found)
    present = [track for track in tracks if not _absent_files(track)]
    gaps += [
        Gap(track.split, track.name, (), f"{file} is not there") for track in tracks for file in _absent_files(track)
    ]
    if not present and not gaps:
        raise empty or DatasetError(f"nothing of {kind} was found in '{root}'")
    notes = []
    if kind == "gtzan":
        for split in ("train", "valid", "test"):
            missing = filtered(split) - {track.name for track in tracks}
            if split in wanted and missing:
                total = len(filtered(split))
                notes.append(f"{len(missing)} of the {total} clips of split {split} are not in this copy")
    return Inventory(
        tuple(split for split in wanted if _holds(split, tracks)), tuple(present), tuple(gaps), tuple(notes)
    )


def splits_of(kind: str, root: Path) -> tuple[str, ...]:
    """Return the splits of a dataset that do not overlap.

    Raises:
        DatasetError: The folder is absent.
    """
    if kind == "list":
        if not root.is_file():
            raise DatasetError(f"list '{root}' does not exist: check --data or --root, here a .csv or .json file")
        return tuple(sorted({track.split for track in read_list(root)}))
    require_root(root)
    if kind in ("musdb18", "musdb18hq", "gtzan", "maps"):
        return ("train", "valid", "test")
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise DatasetError(f"'{root}' holds no splits: expected folders such as train and test in it")
    return tuple(folders)


def _scan(kind: str, root: Path, split: str) -> list[Track]:
    if kind == "musdb18hq":
        return songs_hq(root, split)
    if kind == "pairs":
        return folder(root, split)
    if kind == "list":
        return [replace(track, split=split) for track in read_list(root) if track.split in ("", split)]
    return DATASETS[kind](root, split)


def _gaps(kind: str, root: Path, split: str, tracks: Sequence[Track]) -> list[Gap]:
    """Folders of songs without any audio."""
    if kind in ("folder", "pairs"):
        empty = [song.name for song in song_folders(root, split) if not audio_files(song)]
        return [Gap(split, name, (), "the folder holds no audio") for name in empty]
    if kind == "maps":
        known = {track.name for track in tracks}
        lonely = [
            file
            for name in configurations_of(split)
            for file in sorted((root / name).rglob("MAPS_*.txt"))
            if file.stem not in known and not file.with_suffix(".wav").is_file()
        ]
        return [Gap(split, file.stem, (), f"there are notes and no {file.stem}.wav") for file in lonely]
    return []


def _absent_files(track: Track) -> list[Path]:
    sources: list[Source] = [*track.stems.values(), *([track.mixture] if track.mixture else [])]
    return sorted({file.path for source in sources for file in files_of(source) if not file.path.is_file()})


def _holds(split: str, tracks: Sequence[Track]) -> bool:
    return any(track.split == split for track in tracks)
