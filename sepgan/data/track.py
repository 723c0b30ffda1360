"""A song on disk: where its stems and its mixture are. Nothing is decoded until asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepgan import audio
from sepgan.errors import DatasetError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aif", ".aiff", ".opus")
ACCOMPANIMENT = "accompaniment"  # the sum of all stems but the vocals


@dataclass(frozen=True)
class AudioSource:
    """One audio stream of one file."""

    path: Path
    stream: int | None = None  # which audio stream of a container; None: the only one


@dataclass(frozen=True)
class Track:
    """A song and the stems that are known of it.

    `stems` may be empty (a corpus of mixtures), may lack some stems (absent is not silent), and may hold
    `accompaniment` instead of single stems. Without a mixture file the mixture is the sum of the stems.
    """

    name: str
    split: str
    stems: Mapping[str, AudioSource] = field(default_factory=dict)
    mixture: AudioSource | None = None


def load_stems(track: Track, sample_rate: int | None = None) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Decode all stems of a track.

    Args:
        track: The song.
        sample_rate: Hz to resample to; None keeps the files' own.

    Returns:
        Waveforms `[C, T]` by stem name, and their sample rate in Hz.

    Raises:
        AudioError: A file cannot be decoded.
        DatasetError: Stems of the song differ in rate, channels or length.
    """
    containers = {source.path for source in track.stems.values() if source.stream is not None}
    decoded = {path: audio.read_streams(path) for path in containers}
    waveforms: dict[str, NDArray[np.float32]] = {}
    rates: set[int] = set()
    for stem, source in track.stems.items():
        if source.stream is None:
            waveforms[stem], rate = audio.read(source.path)
        else:
            streams, rate = decoded[source.path]
            if source.stream >= len(streams):
                raise DatasetError(
                    f"'{source.path}' has {len(streams)} audio streams, '{stem}' should be stream {source.stream}"
                )
            waveforms[stem] = streams[source.stream]
        rates.add(rate)
    shapes = {stem: waveform.shape for stem, waveform in waveforms.items()}
    if len(rates) > 1 or len(set(shapes.values())) > 1:
        seen = ", ".join(f"{stem} {shape[0]} x {shape[1]}" for stem, shape in shapes.items())
        raise DatasetError(
            f"stems of '{track.name}' differ ({seen}; {sorted(rates)} Hz): make them equal in rate and length"
        )
    if not rates:
        raise DatasetError(f"track '{track.name}' has no stems: it can feed `separate`, not training or evaluation")
    rate = rates.pop()
    if sample_rate is not None and sample_rate != rate:
        waveforms = {stem: audio.resample(waveform, rate, sample_rate) for stem, waveform in waveforms.items()}
        rate = sample_rate
    return waveforms, rate


def load_mixture(track: Track, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Decode the mixture of a track, or sum its stems where it has no mixture file.

    Returns:
        The waveform `[C, T]` and its sample rate in Hz.
    """
    if track.mixture is None:
        stems, rate = load_stems(track, sample_rate)
        return np.sum(list(stems.values()), axis=0, dtype=np.float32), rate
    return audio.read(track.mixture.path, stream=track.mixture.stream, sample_rate=sample_rate)


def split_folder(root: Path, split: str) -> Path:
    """Return `root/split`, or `root` where the split has no name.

    Raises:
        DatasetError: The root is absent or unreadable, or the split is missing while others are there.
    """
    if not root.is_dir():
        raise DatasetError(f"dataset folder '{root}' does not exist: check --data or --root")
    base = root / split if split else root
    if split and not base.is_dir():
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise DatasetError(f"'{root}' has no split '{split}': it holds {', '.join(folders[:8]) or 'no folders'}")
    if not os.access(base, os.R_OK | os.X_OK):
        raise DatasetError(f"dataset folder '{base}' cannot be read: check its permissions")
    return base


def song_folders(root: Path, split: str) -> list[Path]:
    """Return the folders below `root/split`, sorted and without hidden ones.

    Raises:
        DatasetError: As `split_folder`.
    """
    base = split_folder(root, split)
    return sorted(entry for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def audio_files(folder: Path) -> dict[str, Path]:
    """Return the audio files of a folder by stem of their name, without hidden and AppleDouble files.

    Raises:
        DatasetError: Two files share a name and differ in their ending, so neither can be chosen.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in AUDIO_SUFFIXES or not file.is_file():
            continue
        name = file.stem.lower()
        if name in found:
            raise DatasetError(f"'{folder}' holds both {found[name].name} and {file.name}: keep one of them")
        found[name] = file
    return found
