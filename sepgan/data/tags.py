"""Tempo and key of songs, for remixes that match: told by the dataset, or estimated once and kept beside the samples.

Of what tells, the first holds, as a whole: labels `tempo_bpm` and `key` of a track (JSON lists have them), a line of
`tags.csv` in the folder of the dataset (`track,tempo_bpm,key`, a key such as `F#` or `Bb minor`; an empty field is not
matched), the `provenance.json` of a rendered song, an estimate. Drums have no key, and of singing alone no tempo is
estimated.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepgan.data.augment.matching import Tags, estimate_key
from sepgan.data.store import FULL_SCALE, Samples, SampleStore
from sepgan.data.track import VOCALS, AudioSource, Track
from sepgan.errors import DatasetError

FILE = "tags.csv"
DRUMS = "drums"
PROVENANCE = "provenance.json"  # of a rendered song

_EXCERPT_S = 90.0  # in the middle of a song: enough for one tempo and one key
_ANALYSIS_HZ = 22050
_VERSION = 1  # part of the name of an estimate: raised with the way it is made
_LEAST_PEAK = 1e-3
_PITCH = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTAL = {"": 0, "#": 1, "b": -1}


def parse_key(text: str) -> Tags:
    """Return the tags of a key.

    Raises:
        ValueError: It is none.

    >>> parse_key("Bb minor")
    Tags(tempo_bpm=None, key=10, minor=True)
    """
    found = re.fullmatch(r"([A-G])([#b]?)\s*(|m|min|minor|maj|major)", text.strip())
    if not found:
        raise ValueError(f"'{text}' is no key: write C, F#, Bb minor or Am")
    letter, accidental, mode = found.groups()
    return Tags(key=(_PITCH[letter] + _ACCIDENTAL[accidental]) % 12, minor=mode in ("m", "min", "minor"))


def name_of_key(tags: Tags) -> str:
    """Return a key as `parse_key` reads it; nothing where it is not known.

    >>> name_of_key(Tags(key=10, minor=True))
    'A# minor'
    """
    names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    return "" if tags.key is None else names[tags.key] + " minor" * tags.minor


def parse(tempo_bpm: str, key: str) -> Tags:
    """Return the tags that two fields name; an empty field is not known.

    Raises:
        ValueError: A field is neither empty nor valid.
    """
    tags = parse_key(key) if key.strip() else Tags()
    if not tempo_bpm.strip():
        return tags
    try:
        tempo = float(tempo_bpm)
    except ValueError:
        tempo = math.nan
    if not 20 <= tempo <= 400:
        raise ValueError(f"'{tempo_bpm}' is no tempo: write beats per minute, 20 to 400")
    return replace(tags, tempo_bpm=tempo)


def read_tags(root: Path) -> dict[str, Tags]:
    """Return what `tags.csv` in the folder of a dataset says, by track; nothing where there is no such file.

    Raises:
        DatasetError: The file cannot be read, or a line of it makes no sense.
    """
    file = root / FILE
    if not file.is_file():
        return {}
    tags: dict[str, Tags] = {}
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            if set(reader.fieldnames or ()) != {"track", "tempo_bpm", "key"}:
                raise ValueError("expected the columns track, tempo_bpm, key")
            for row in reader:
                if row["track"] in tags:
                    raise ValueError(f"line {reader.line_num}: '{row['track']}' stands there twice")
                try:
                    tags[row["track"]] = parse(row["tempo_bpm"] or "", row["key"] or "")
                except ValueError as error:
                    raise ValueError(f"line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DatasetError(f"'{file}' cannot be read: {error}") from error
    return tags


def tags_of(track: Track, listed: Mapping[str, Tags], samples: Mapping[str, Samples], store: SampleStore) -> Tags:
    """Return what is known of a song, and estimate it where nothing is told.

    Args:
        track: The song.
        listed: What `read_tags` found.
        samples: Its decoded stems.
        store: Keeps estimates.

    Raises:
        AudioError: A file cannot be read.
        DatasetError: A label of the track is no tempo or no key.
        OutputError: The store cannot be written.
    """
    if "tempo_bpm" in track.labels or "key" in track.labels:
        try:
            return parse(track.labels.get("tempo_bpm", ""), track.labels.get("key", ""))
        except ValueError as error:
            raise DatasetError(f"label of '{track.name}': {error}") from error
    if track.name in listed:
        return listed[track.name]
    rendered = _rendered(track)
    if rendered is not None:
        return rendered
    name = f"tags-{_VERSION}-{store.content_key(track)}"
    known = store.recall(name)
    if known is None:
        known = asdict(estimate(samples, store.sample_rate))
        store.remember(name, known)
    return Tags(**known)


def of_stem(tags: Tags, stem: str) -> Tags:
    """Return what of a song's tags holds for one of its stems: drums have no key."""
    return Tags(tags.tempo_bpm) if stem == DRUMS else tags


def estimate(samples: Mapping[str, Samples], sample_rate: int) -> Tags:
    """Estimate tempo and key from the middle of a song: librosa's beat tracker, and Krumhansl's profiles on chroma.

    Args:
        samples: Stems by name.
        sample_rate: Of the stems, in Hz.
    """
    import librosa

    mono = {stem: _middle(sound, sample_rate) for stem, sound in samples.items()}
    pitched = sum((sound for stem, sound in mono.items() if stem != DRUMS), np.zeros(1, dtype=np.float32))
    tags = Tags()
    if np.abs(pitched).max() > _LEAST_PEAK:
        reduced = librosa.resample(pitched, orig_sr=sample_rate, target_sr=_ANALYSIS_HZ)
        chroma = librosa.feature.chroma_stft(y=reduced, sr=_ANALYSIS_HZ, n_fft=4096, hop_length=2048, tuning=0.0)
        tags = estimate_key(chroma.sum(1))
    struck = sum((sound for stem, sound in mono.items() if stem != VOCALS), np.zeros(1, dtype=np.float32))
    if np.abs(struck).max() > _LEAST_PEAK:
        reduced = librosa.resample(struck, orig_sr=sample_rate, target_sr=_ANALYSIS_HZ)
        tempo, _ = librosa.beat.beat_track(y=reduced, sr=_ANALYSIS_HZ)
        found = float(np.atleast_1d(tempo)[0])
        tags = replace(tags, tempo_bpm=round(found, 2) if found > 0 else None)
    return tags


def _middle(samples: Samples, sample_rate: int) -> NDArray[np.float32]:
    count = round(_EXCERPT_S * sample_rate)
    start = max(0, (len(samples) - count) // 2)
    piece = samples.window(start, start + count)
    mono = piece.mean(0, dtype=np.float32)
    return np.asarray(mono / np.float32(FULL_SCALE) if piece.dtype == np.int16 else mono, dtype=np.float32)


def _rendered(track: Track) -> Tags | None:
    """What `data render` wrote beside the stems of a song."""
    folders = {source.path.parent for source in track.stems.values() if isinstance(source, AudioSource)}
    if len(folders) != 1 or not (file := folders.pop() / PROVENANCE).is_file():
        return None
    try:
        raw: Any = json.loads(file.read_text(encoding="utf-8"))
        found = raw.get("tags")
        return None if found is None else parse(str(found["tempo_bpm"] or ""), str(found["key"] or ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"'{file}' tells no tempo and key: {error}; render the song again") from error
