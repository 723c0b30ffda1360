"""A dataset as a list of files, CSV or JSON: for music that lies in no layout of its own, and for made-up tasks.

CSV has one line a file, with the columns `track`, `stem`, `path`, and if wanted `split`, `start_s`, `gain_db`. Several
lines of one stem are added up. The stem `mixture` is the mixture.

    track,split,stem,path
    Song,train,vocals,songs/song/voice.wav
    Song,train,drums,songs/song/kick.wav
    Song,train,drums,songs/song/snare.wav

JSON is a list of tracks, where a stem is a path, an object with `path`, `start_s` and `gain_db`, or a list of those:

    [{"name": "Song", "split": "train", "duration_s": 20, "stems": {"vocals": "voice.wav", "drums": ["kick.wav", ...]}}]

Paths are relative to the list. `#3` behind a path takes the audio stream number 3 of a container.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sepgan import atomic
from sepgan.data.track import AudioSource, Part, Source, Sum, Track, files_of
from sepgan.errors import DatasetError, OutputError

MIXTURE = "mixture"


def tracks_of_list(file: Path, split: str) -> list[Track]:
    """Return the tracks of a list that are in a split; an empty split takes all, and so does a list without splits.

    Raises:
        DatasetError: The file is absent, damaged, names a file that is not there, or has no track of the split.
    """
    if not file.is_file():
        raise DatasetError(
            f"list '{file}' does not exist: check --data or --root, which name a .csv or .json file here"
        )
    tracks = read_list(file)
    splits = sorted({track.split for track in tracks if track.split})
    chosen = [track for track in tracks if not split or not track.split or track.split == split]
    if not chosen:
        raise DatasetError(f"no track in '{file}' for split '{split}': it has {', '.join(splits) or 'none'}")
    for track in chosen:
        for source in (*track.stems.values(), *([track.mixture] if track.mixture else [])):
            for part in files_of(source):
                if not part.path.is_file():
                    raise DatasetError(f"'{file}' names '{part.path}' in track '{track.name}', which does not exist")
    return sorted((Track(t.name, split, t.stems, t.mixture, t.labels) for t in chosen), key=lambda t: t.name)


def read_list(file: Path) -> list[Track]:
    """Read all tracks of a list.

    Raises:
        DatasetError: The file cannot be read as such a list.
    """
    try:
        if file.suffix.lower() == ".json":
            raw = json.loads(file.read_text(encoding="utf-8"))
        else:
            with file.open(encoding="utf-8", newline="") as handle:
                raw = _rows(csv.DictReader(handle))
        tracks = [_track(entry, file.parent) for entry in raw]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"list '{file}' cannot be read: {what}; see `sepgan.data.lists` for its form") from error
    seen: set[str] = set()
    for track in tracks:
        if track.name in seen:
            raise DatasetError(f"list '{file}' has two tracks named '{track.name}': tell them apart")
        seen.add(track.name)
    return tracks


def write_list(file: Path, tracks: Iterable[Track]) -> None:
    """Write tracks as a JSON list that `tracks_of_list` reads.

    Raises:
        OutputError: The file cannot be written.
    """
    base = file.parent.resolve()
    raw = []
    for track in tracks:
        sources = dict(track.stems) | ({MIXTURE: track.mixture} if track.mixture else {})
        entry: dict[str, Any] = {"name": track.name, "split": track.split}
        durations = [s.duration_s for s in sources.values() if isinstance(s, Sum) and s.duration_s is not None]
        if durations:
            entry["duration_s"] = max(durations)
        entry["stems"] = {stem: _plain(source, base) for stem, source in sources.items()}
        raw.append(entry | ({"labels": dict(track.labels)} if track.labels else {}))
    try:
        with atomic.replacing(file) as temporary:
            temporary.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"list '{file}' cannot be written: {error.strerror}; choose another --out") from error


def _rows(rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Lines of CSV as entries of JSON."""
    entries: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = entries.setdefault(row["track"], {"name": row["track"], "split": row.get("split") or "", "stems": {}})
        if (row.get("split") or "") != entry["split"]:
            raise ValueError(f"track '{row['track']}' stands in two splits")
        part = {
            "path": row["path"],
            "start_s": float(row.get("start_s") or 0),
            "gain_db": float(row.get("gain_db") or 0),
        }
        entry["stems"].setdefault(row["stem"], []).append(part)
    return list(entries.values())


def _track(entry: Mapping[str, Any], base: Path) -> Track:
    unknown = set(entry) - {"name", "split", "stems", "duration_s", "labels"}
    if unknown:
        raise ValueError(f"key '{min(unknown)}' is unknown in a track")
    duration_s = float(entry["duration_s"]) if entry.get("duration_s") is not None else None
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise ValueError(f"duration_s must be above 0, got {duration_s}")
    stems = {str(stem): _source(value, base, duration_s) for stem, value in entry["stems"].items()}
    if not stems:
        raise ValueError(f"track '{entry['name']}' has no stems")
    mixture = stems.pop(MIXTURE, None)
    labels = {str(key): str(value) for key, value in entry.get("labels", {}).items()}
    return Track(str(entry["name"]), str(entry.get("split", "")), stems, mixture, labels)


def _source(value: Any, base: Path, duration_s: float | None) -> Source:
    parts = tuple(_part(item, base) for item in (value if isinstance(value, list) else [value]))
    if not parts:
        raise ValueError("a stem is an empty list")
    if duration_s is None and len(parts) == 1 and parts[0] == Part(parts[0].source):
        return parts[0].source
    return Sum(parts, duration_s)


def _part(value: Any, base: Path) -> Part:
    raw = {"path": value} if isinstance(value, str) else dict(value)
    name, mark, number = raw.pop("path").rpartition("#")
    stream = int(number) if mark and number.isdigit() else None
    path = base / (name if stream is not None else f"{name}{mark}{number}")
    part = Part(AudioSource(path, stream), float(raw.pop("start_s", 0.0)), float(raw.pop("gain_db", 0.0)))
    if raw:
        raise ValueError(f"key '{min(raw)}' is unknown in a stem")
    if not (math.isfinite(part.start_s) and part.start_s >= 0 and math.isfinite(part.gain_db)):
        raise ValueError(f"'{path}': start_s must be 0 or more and gain_db a number")
    return part


def _plain(source: Source, base: Path) -> Any:
    parts = source.parts if isinstance(source, Sum) else (Part(source),)
    plain = []
    for part in parts:
        path = part.source.path.resolve()
        text = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
        if part.source.stream is not None:
            text += f"#{part.source.stream}"
        extra = {key: value for key, value in (("start_s", part.start_s), ("gain_db", part.gain_db)) if value}
        plain.append({"path": text, **extra} if extra else text)
    return plain[0] if len(plain) == 1 else plain
