"""Where each song comes from and what its licence allows; the header of a model lists it for every file.

Of what tells, the first holds: a line of `licences.csv` in the folder of the dataset (`track,source,licence`), the
`provenance.json` of a rendered song, the entry of the recipe.

A licence is written as names with semicolons between them where several apply at once; what stands in brackets is a
remark: `BSD 3-clause (MIDI); MIT (SoundFont)`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepgan.atomic import replacing
from sepgan.data.track import AudioSource, Track, files_of
from sepgan.errors import DatasetError
from sepgan.recipe import SourceRecipe

FILE = "licences.csv"
PROVENANCE = "provenance.json"  # of a rendered song

# Of those that music comes under, the ones that allow any use and ask for nothing of what is made with it.
ANY_USE = (
    "CC0 1.0",
    "public domain",
    "MIT",
    "BSD 2-clause",
    "BSD 3-clause",
    "zlib",
    "MIT-Festival",  # SPDX's name for that of Festival and flite
)


@dataclass(frozen=True)
class Credit:
    """The files of one song, where they come from, and under which licence."""

    files: str
    source: str
    licence: str


def outside(licence: str, allowed: Sequence[str]) -> list[str]:
    """Return which parts of a licence are not allowed; one that is not stated never is.

    >>> outside("BSD 3-clause (MIDI); MIT (SoundFont)", ANY_USE)
    []
    >>> outside("CC0 1.0; CC BY 4.0 (voice)", ANY_USE)
    ['CC BY 4.0']
    """
    names = [re.sub(r"\s*\([^()]*\)", "", part).strip() for part in licence.split(";")]
    return [name or "not stated" for name in names if name not in allowed]


def write_credits(root: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write `licences.csv` in the folder of a dataset, from tracks, their sources and licences."""
    with replacing(root / FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        lines = csv.writer(handle, lineterminator="\n")
        lines.writerow(("track", "source", "licence"))
        lines.writerows(rows)


def read_credits(root: Path) -> dict[str, tuple[str, str]]:
    """Return source and licence by track in lower case, as `licences.csv` in a dataset's folder has them.

    Raises:
        DatasetError: The file cannot be read, or a line of it is incomplete.
    """
    file = root / FILE
    if not file.is_file():
        return {}
    found: dict[str, tuple[str, str]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            if set(reader.fieldnames or ()) != {"track", "source", "licence"}:
                raise ValueError("expected the columns track, source, licence")
            for row in reader:
                if not all(row[column] for column in ("track", "source", "licence")):
                    raise ValueError(f"line {reader.line_num}: track, source and licence must all be there")
                if row["track"].lower() in found:
                    raise ValueError(f"line {reader.line_num}: '{row['track']}' stands there twice")
                found[row["track"].lower()] = (row["source"], row["licence"])
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DatasetError(f"'{file}' cannot be read: {error}") from error
    return found


def credit_of(track: Track, entry: SourceRecipe, listed: Mapping[str, tuple[str, str]]) -> Credit:
    """Return the credit of a song.

    Args:
        track: The song.
        entry: The recipe's word for its dataset.
        listed: What `read_credits` found.

    Raises:
        DatasetError: The `provenance.json` of a rendered song is damaged.
    """
    paths = _paths(track)
    title, licence = entry.title or f"{entry.kind} {entry.root}", entry.licence
    if track.name.lower() in listed:
        title, licence = listed[track.name.lower()]
    elif paths and (played := paths[0].parent / PROVENANCE).is_file():
        try:
            known = json.loads(played.read_text(encoding="utf-8"))
            title = f"{title}: {known['midi']['file']} played with {known['soundfont']['file']}"
            voices = sorted({voice["file"] for voice in known.get("vocals", ())})  # none in those of older versions
            title += "".join(f", sung by {voice}" for voice in voices)
            licence = known["licence"] or licence
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"'{played}' cannot be read: {error}; render the song again") from error
    return Credit(_brief(paths), title, licence)


def require_allowed(credit: Credit, allowed: Sequence[str]) -> None:
    """Refuse a song whose licence a recipe does not allow.

    Raises:
        DatasetError: So it is.
    """
    wrong = outside(credit.licence, allowed)
    if wrong:
        raise DatasetError(
            f"'{credit.files}' ({credit.source}) is under '{wrong[0]}', and the recipe allows only "
            f"{'; '.join(allowed)}: leave it out (include), name its licence in {FILE}, or change data.licences"
        )


def objections(training_data: Iterable[Mapping[str, Any]], allowed: Sequence[str]) -> list[str]:
    """Return what in the header of a model was not allowed to train it; nothing: all was.

    Every file must be listed under an allowed licence. The exception is what trained the weights that a model begins
    as, or its teacher, where their own header does not list it: then the licence of those weights counts.
    """
    found = []
    for entry in training_data:
        if "songs" in entry:
            listed = [(song["files"], song["licence"]) for song in entry["songs"]]
            wrong = [f"{', '.join(files)}: {name}" for files, licence in listed for name in outside(licence, allowed)]
            found += wrong if listed else [f"{entry['title']}: no file is listed"]
        elif origin := entry.get("begins_as") or entry.get("taught_by"):
            found += [f"weights of {origin}: {name}" for name in outside(entry["weights"], allowed)]
        else:
            found.append(f"{entry['title']}: no file is listed")
    return found


def for_header(credits: Iterable[Credit]) -> list[dict[str, Any]]:
    """Return credits for the header of a model: files of one source and licence together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for credit in credits:
        groups.setdefault((credit.source, credit.licence), []).append(credit.files)
    return [{"source": source, "licence": licence, "files": files} for (source, licence), files in groups.items()]


def _paths(track: Track) -> list[Path]:
    sources = [*track.stems.values(), *([track.mixture] if track.mixture else [])]
    files: dict[AudioSource, None] = dict.fromkeys(file for source in sources for file in files_of(source))
    return list(dict.fromkeys(file.path for file in files))


def _brief(paths: Sequence[Path]) -> str:
    """Files of one song in one word: `song.ogg`, `Song/{bass,drums}.ogg`."""
    if len(paths) == 1:
        return paths[0].name
    if len({(path.parent, path.suffix) for path in paths}) == 1:
        return f"{paths[0].parent.name}/{{{','.join(sorted(path.stem for path in paths))}}}{paths[0].suffix}"
    return ", ".join(sorted(f"{path.parent.name}/{path.name}" for path in paths))
