"""From what a user names to songs: files, folders, patterns and lists, each song with its place in the output tree."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepgan.audio_formats import AUDIO_SUFFIXES
from sepgan.errors import AudioError, UsageError

_LISTS_ARE_SMALL = 64 * 2**20  # bytes; a longer file is not a list but a song behind an @


@dataclass(frozen=True)
class Song:
    """A song and the folder, relative to the output, that its files go to."""

    path: Path
    folder: Path = Path()


def find_songs(inputs: Sequence[str | Path], *, leave_out: Path | None = None) -> list[Song]:
    """Find the songs that are meant.

    Args:
        inputs: files; folders, whose tree is mirrored; patterns such as `music/**/*.flac`, mirrored from their first
            wildcard on; `@list.txt`, a text file with one of these a line, relative to the list, `#` for comments.
        leave_out: the output folder: what lies in it is no song.

    Returns:
        Songs in the order of the inputs, those of a folder or pattern by name; one named twice comes once. A file that
        is missing is among them: it fails when its turn comes.

    Raises:
        AudioError: a folder, pattern or list has no songs, or cannot be read.
        UsageError: nothing is named.
    """
    if not inputs:
        raise UsageError("no songs are named; give files, folders, patterns or @lists")
    skipped = None if leave_out is None else leave_out.resolve()
    found: dict[Path, Song] = {}
    for entry in inputs:
        for song in _expand(os.fspath(entry), skipped, lists=True):
            found.setdefault(song.path.resolve(), song)
    return list(found.values())


def _expand(entry: str, skipped: Path | None, *, lists: bool) -> Iterator[Song]:
    path = Path(entry)
    if entry.startswith("@") and lists:
        yield from _from_list(Path(entry[1:]), skipped)
    elif path.is_dir():
        yield from _from_folder(path, skipped)
    elif path.exists() or not glob.has_magic(entry):
        yield Song(path)
    else:
        yield from _from_pattern(entry, skipped)


def _from_list(path: Path, skipped: Path | None) -> Iterator[Song]:
    try:
        if path.stat().st_size > _LISTS_ARE_SMALL:
            raise AudioError(f"{path} is too long for a list; a song whose name begins with @ is given as ./@name")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise AudioError(f"list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AudioError(
            f"list {path} is not UTF-8 text; a song whose name begins with @ is given as ./@name"
        ) from error
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        raise AudioError(f"list {path} names no songs")
    for entry in entries:
        yield from _expand(os.path.join(path.parent, entry), skipped, lists=False)


def _from_folder(root: Path, skipped: Path | None) -> Iterator[Song]:
    def refuse(error: OSError) -> None:
        raise AudioError(f"folder {error.filename} cannot be read: {error.strerror}") from error

    count = 0
    for folder, folders, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != skipped)
        for name in sorted(files):
            # Names with a dot in front are hidden, or the second halves of files that a Mac has copied.
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                count += 1
                yield Song(here / name, here.relative_to(root))
    if not count:
        raise AudioError(f"folder {root} holds no songs: no file in it has a name like .wav, .flac, .mp3 or .m4a")


def _from_pattern(pattern: str, skipped: Path | None) -> Iterator[Song]:
    fixed = Path(*_before_wildcard(Path(pattern).parts))
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    songs = [match for match in matches if match.is_file() and not (skipped and skipped in match.resolve().parents)]
    if not songs:
        raise AudioError(f"no file matches '{pattern}'")
    for song in songs:
        yield Song(song, song.parent.relative_to(fixed))


def _before_wildcard(parts: Sequence[str]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part
