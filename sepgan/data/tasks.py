"""Separation tasks with exact references, made of recordings of piano: lists of what to add up.

`piano`: each recording of MAPS beside music without piano. `registers`: isolated notes placed in time, low and high
ones as two stems, so that separating hands or registers can be learnt and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sepgan import audio
from sepgan.data import DATASETS
from sepgan.data.maps import STEM, maps
from sepgan.data.track import AudioSource, Part, Sum, Track, files_of
from sepgan.errors import DatasetError

REST = "rest"
LOW, HIGH = "low", "high"
NOTES_PER_S = 3.0  # of each register
GAIN_DB = (-9.0, 0.0)  # of a note


def piano_task(
    root: Path,
    split: str,
    others: Mapping[str, Path],
    stems: Sequence[str],
    others_split: str,
    *,
    seconds: float,
    seed: int = 0,
) -> list[Track]:
    """Put a piece of other music beside every piano recording of MAPS: stems `piano` and `rest`.

    Args:
        root: MAPS.
        split: Of MAPS.
        others: Folders of other music by dataset kind.
        stems: Which of its stems to add up; none of them may hold a piano.
        others_split: Of the other music.
        seconds: Longest duration of a track; the shorter side ends it.
        seed: Of all choices.

    Raises:
        DatasetError: There is no such data, or the other music has none of the stems.
    """
    songs = [
        [track.stems[stem] for stem in stems if stem in track.stems]
        for kind, folder in others.items()
        for track in _dataset(kind)(folder, others_split)
    ]
    songs = [sources for sources in songs if sources]
    if not songs:
        raise DatasetError(f"no song of {', '.join(map(str, others.values()))} has any of {', '.join(stems)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(songs))
    made = []
    for index, track in enumerate(maps(root, split)):
        files = [file for source in songs[order[index % len(songs)]] for file in files_of(source)]
        piano = track.stems[STEM]
        duration_s = min(seconds, *(_duration_s(file) for file in (*files_of(piano), *files)))
        rest = Sum(tuple(Part(file) for file in files), duration_s)
        parts = tuple(Part(file) for file in files_of(piano))
        made.append(Track(track.name, split, {STEM: Sum(parts, duration_s), REST: rest}, labels=track.labels))
    return made


def register_task(
    root: Path, split: str, *, tracks: int, seconds: float, middle: int = 60, seed: int = 0
) -> list[Track]:
    """Place isolated notes of one piano at random in time: stems `low` and `high`, which sum to the mixture exactly.

    Args:
        root: MAPS.
        split: Of MAPS; each track takes the notes of one configuration.
        tracks: How many.
        seconds: Duration of each.
        middle: Lowest MIDI pitch that counts as high; 60 is middle C.
        seed: Of all choices.

    Raises:
        DatasetError: No configuration has isolated notes on both sides.
    """
    pianos: dict[str, tuple[list[AudioSource], list[AudioSource]]] = {}
    for track in maps(root, split):
        if track.labels.get("style") == "NO" and "pitch" in track.labels:
            sides = pianos.setdefault(track.labels["configuration"], ([], []))
            sides[int(track.labels["pitch"]) >= middle].extend(files_of(track.stems[STEM]))
    usable = {name: sides for name, sides in sorted(pianos.items()) if all(sides)}
    if not usable:
        raise DatasetError(
            f"'{root}' has no piano in split '{split}' with isolated notes (ISOL/NO) both below MIDI {middle} and above"
        )
    rng = np.random.default_rng(seed)
    names = list(usable)
    made = []
    for index in range(tracks):
        name = names[index % len(names)]
        low, high = (Sum(_scatter(rng, notes, seconds), seconds) for notes in usable[name])
        made.append(
            Track(f"registers_{index:04d}_{name}", split, {LOW: low, HIGH: high}, labels={"configuration": name})
        )
    return made


def _scatter(rng: np.random.Generator, notes: Sequence[AudioSource], seconds: float) -> tuple[Part, ...]:
    count = max(1, round(NOTES_PER_S * seconds))
    starts = np.sort(rng.uniform(0, 0.95 * seconds, count))
    return tuple(
        Part(notes[int(rng.integers(len(notes)))], round(float(start), 4), round(float(rng.uniform(*GAIN_DB)), 2))
        for start in starts
    )


def _duration_s(file: AudioSource) -> float:
    info = audio.probe(file.path, file.stream)
    if info.duration_s is not None:
        return info.duration_s
    waveform, rate = audio.read(file.path, stream=file.stream)
    return float(waveform.shape[1]) / rate


def _dataset(kind: str) -> Callable[[Path, str], list[Track]]:
    if kind not in DATASETS:
        raise DatasetError(f"dataset kind '{kind}' is unknown: choose one of {', '.join(sorted(DATASETS))}")
    return DATASETS[kind]
