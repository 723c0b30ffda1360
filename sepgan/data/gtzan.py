"""GTZAN (Tzanetakis and Cook, 2002): 1000 clips of 30 s in ten genres, 22.05 kHz, mono; mixtures without stems.

The set holds repeated, wrongly labelled and distorted clips (Sturm, 2013). The splits `train`, `valid` and `test` are
the fault-filtered lists of Kereliuk, Sturm and Larsen (2015), 443, 197 and 290 clips; `train+valid` joins two of them
and `all` is every clip there is. They share artists: for lists that do not, put `<name>_train.txt` and so on into the
root, one clip a line, and ask for split `<name>:train`. A file `artists.csv` (columns `clip` and `artist`) there
labels the clips, and `sepgan data check` then tells which artists two splits share.
"""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path

from sepgan import audio
from sepgan.data.track import AudioSource, Track, require_root
from sepgan.errors import AudioError, DatasetError

_log = logging.getLogger(__name__)

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
SPLITS = ("train", "valid", "train+valid", "test", "all")
SUFFIXES = (".au", ".wav")  # of the original archive, of the copies
BAND_HZ = 11025.0  # half the rate: nothing is known above
LICENCE = "not stated by its makers"
# A clip that is cut off within its header in the copies as .wav. It stands in the list for training.
UNDECODABLE = "jazz.00054"

# Numbers of the clips in each list, first and last included. The lists are published with
# https://github.com/jordipons/sklearn-audio-transfer-learning and ship with torchaudio.
_FILTERED = {
    "train": {
        "blues": "29-49 73-97",
        "classical": "30-33 43-48 50-67 80-99",
        "country": "19-26 28-29 65-99",
        "disco": "5 15-20 22-37 39-45 47 49 53-54 56-57 59 61 70 73-74 89",
        "hiphop": "2-25 28-29 31-38 41-42 55-61 77-80",
        "jazz": "0-1 11-24 41 47-72",
        "metal": "2-3 5 21 24 35 46-57 59-66 69 71-72 79-80 84 86 89-99",
        "pop": "2-9 11-12 16-20 23-29 31-36 38-42 44 46 49-50 80 97-99",
        "reggae": "0-2 4 6 9 11-12 14-32 42-45 49-51 54-60 63 69",
        "rock": "0-9 16-26 57-70 91-99",
    },
    "valid": {
        "blues": "0-11 50-60",
        "classical": "0-10 68-76",
        "country": "0-7 9-18 27 41-42 45 49",
        "disco": "0 2-4 6-14 46 48 52 67-68 72 75 90 95",
        "hiphop": "81-98",
        "jazz": "2-10 25-32",
        "metal": "0-1 6-11 16-20 36-37 68 76-77 81-82",
        "pop": "10 53 55 58-62 81 83-86",
        "reggae": "61-62 70 72 74 76-78 85 92-99",
        "rock": "38 49-56 71-85",
    },
    "test": {
        "blues": "12-28 61-72 98-99",
        "classical": "11-29 34-41 49 77-79",
        "country": "30-40 43-44 46-48 50-51 53-64",
        "disco": "1 21 58 62-66 69 76-88 91-94 96-97 99",
        "hiphop": "0 26-27 30 40 43-45 51-54 62-75 99",
        "jazz": "73-99",
        "metal": "12-15 22-23 25-33 38-39 67 70 73-75 78 83 85 87-88",
        "pop": "0-1 13-14 43 63-66 69-79 82 88-96",
        "reggae": "34-40 46-48 52-53 64-68 71 79 82-84 87-90",
        "rock": "10-15 27-37 39-48 86-90",
    },
}


def gtzan(root: Path, split: str) -> list[Track]:
    """Clips of GTZAN: `[genres/]<genre>/<genre>.<number>.{au,wav}`.

    Raises:
        DatasetError: The folder is absent, the split unknown, or there is no clip of it.
    """
    require_root(root)
    wanted = _members(root, split)
    base = next((root / name for name in ("genres", "genres_original") if (root / name).is_dir()), root)
    artists = _artists(root)
    clips = {name: file for name, file in _clips(base).items() if wanted is None or name in wanted}
    if not clips:
        raise DatasetError(f"no track in '{base}' for split '{split}': expected <genre>/<genre>.00000.wav or .au")
    tracks = []
    for name, file in sorted(clips.items()):
        labels = {"genre": name.partition(".")[0], "licence": LICENCE}
        if name in artists:
            labels["artist"] = artists[name]
        damage = _damage(file) if name == UNDECODABLE else ""
        tracks.append(Track(name, split, {}, AudioSource(file), labels, damage=damage))
    return tracks


def filtered(part: str) -> frozenset[str]:
    """Return the names of the clips in one of the fault-filtered lists: `train`, `valid` or `test`.

    >>> len(filtered("train")), len(filtered("valid")), len(filtered("test"))
    (443, 197, 290)
    """
    names = set()
    for genre, spans in _FILTERED[part].items():
        for span in spans.split():
            first, _, last = span.partition("-")
            names |= {f"{genre}.{number:05d}" for number in range(int(first), int(last or first) + 1)}
    return frozenset(names)


def _members(root: Path, split: str) -> frozenset[str] | None:
    """Names in a split; None stands for all."""
    if split == "all":
        return None
    if split in SPLITS:
        return frozenset().union(*(filtered(part) for part in split.split("+")))
    name, colon, part = split.partition(":")
    if not colon:
        raise DatasetError(
            f"GTZAN has no split '{split}': choose one of {', '.join(SPLITS)}, or NAME:{split} for a list of your own"
        )
    file = root / f"{name}_{part}.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"split '{split}' needs the list '{file}', which cannot be read: {error}") from error
    found = (re.search(r"([a-z]+\.\d{5})", line) for line in lines)  # with or without folder and ending
    names = frozenset(match[1] for match in found if match)
    if not names:
        raise DatasetError(f"list '{file}' names no clip: expected a name such as blues.00029 in each line")
    return names


def _artists(root: Path) -> dict[str, str]:
    file = root / "artists.csv"
    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return {row["clip"]: row["artist"] for row in rows if row["artist"]}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise DatasetError(f"'{file}' cannot be read: expected the columns clip and artist ({error})") from error


def _clips(base: Path) -> dict[str, Path]:
    """Clips by name; AppleDouble files (`._*`) are passed over, and of two forms of a clip the original is taken."""
    found: dict[str, Path] = {}
    for genre in GENRES:
        folder = base / genre
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.suffix.lower() in SUFFIXES and re.fullmatch(rf"{genre}\.\d{{5}}", file.stem):
                found.setdefault(file.stem, file)
    return found


def _damage(file: Path) -> str:
    try:
        audio.probe(file)
    except AudioError as error:
        return str(error)
    return ""
