"""A song on disk: where its stems and its mixture are. Nothing is decoded until asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepgan import audio
from sepgan.errors import AudioError, DatasetError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aif", ".aiff", ".opus", ".au")
ACCOMPANIMENT = "accompaniment"  # the sum of all stems but the vocals
VOCALS = "vocals"
OTHER = "other"  # all that is in no other stem

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class AudioSource:
    """One audio stream of one file."""

    path: Path
    stream: int | None = None  # which audio stream of a container; None: the only one


@dataclass(frozen=True)
class Part:
    """A file somewhere within a sum."""

    source: AudioSource
    start_s: float = 0.0  # where it begins
    gain_db: float = 0.0


@dataclass(frozen=True)
class Sum:
    """Several files added up to one stem: files of one role, or notes placed in time.

    Parts may differ in rate and channels; they take those of the richest. A sum lasts as long as it is told, or as its
    longest part.
    """

    parts: tuple[Part, ...]
    duration_s: float | None = None


Source = AudioSource | Sum


@dataclass(frozen=True)
class Track:
    """A song and the stems that are known of it.

    `stems` may be empty (a corpus of mixtures), may lack some stems (absent is not silent), and may hold
    `accompaniment` instead of single stems. Without a mixture file the mixture is the sum of the stems.
    """

    name: str
    split: str
    stems: Mapping[str, Source] = field(default_factory=dict)
    mixture: Source | None = None
    labels: Mapping[str, str] = field(default_factory=dict)  # what the dataset says: artist, genre, piece, pitch ...
    warnings: tuple[str, ...] = ()  # known faults of this song
    damage: str = ""  # why it cannot be used at all; `scan` leaves such tracks out


def files_of(source: Source) -> tuple[AudioSource, ...]:
    """Return the files that a stem is made of."""
    return (source,) if isinstance(source, AudioSource) else tuple(part.source for part in source.parts)


def load_track(track: Track, sample_rate: int | None = None) -> tuple[dict[str, Waveform], Waveform | None, int]:
    """Decode stems and mixture of a track; every container, such as a `.stem.mp4`, is decoded once.

    Args:
        track: The song.
        sample_rate: Hz to resample to; None keeps the files' own.

    Returns:
        Waveforms `[C, T]` by stem name; that of the mixture file, None where there is none; the sample rate in Hz.

    Raises:
        AudioError: A file cannot be decoded.
        DatasetError: Stems of the song differ in rate, channels or length, or there is no audio at all.
    """
    return _load(track, sample_rate, track.mixture)


def load_stems(track: Track, sample_rate: int | None = None) -> tuple[dict[str, Waveform], int]:
    """Decode all stems of a track.

    Args:
        track: The song.
        sample_rate: Hz to resample to; None keeps the files' own.

    Returns:
        Waveforms `[C, T]` by stem name, and their sample rate in Hz.

    Raises:
        AudioError: A file cannot be decoded.
        DatasetError: Stems of the song differ in rate, channels or length, or there are none.
    """
    if not track.stems:
        raise DatasetError(f"track '{track.name}' has no stems: it can feed `separate`, not training or evaluation")
    stems, _, rate = _load(track, sample_rate, None)
    return stems, rate


def load_mixture(track: Track, sample_rate: int | None = None) -> tuple[Waveform, int]:
    """Decode the mixture of a track, or sum its stems where it has no mixture file.

    Returns:
        The waveform `[C, T]` and its sample rate in Hz.
    """
    if track.mixture is None:
        stems, rate = load_stems(track, sample_rate)
        return sum_stems(stems), rate
    _, mixture, rate = _load(replace(track, stems={}), sample_rate, track.mixture)
    assert mixture is not None
    return mixture, rate


def sum_stems(stems: Mapping[str, Waveform]) -> Waveform:
    """Add up stems `[C, T]`; an `accompaniment` beside its own parts is not counted twice."""
    total: Waveform = np.sum([stems[stem] for stem in without_doubles(stems)], axis=0, dtype=np.float32)
    return total


def without_doubles(stems: Mapping[str, object]) -> list[str]:
    """Names of the stems that make up the mixture, where some copies hold an `accompaniment` beside its own parts.

    With `other`, which is all the rest by its name, the parts are complete; without it the accompaniment stands in.

    >>> without_doubles({"vocals": 0, "drums": 0, "other": 0, "accompaniment": 0})
    ['vocals', 'drums', 'other']
    >>> without_doubles({"vocals": 0, "drums": 0, "accompaniment": 0})
    ['vocals', 'accompaniment']
    """
    if ACCOMPANIMENT not in stems:
        return list(stems)
    if OTHER in stems:
        return [stem for stem in stems if stem != ACCOMPANIMENT]
    return [stem for stem in stems if stem in (VOCALS, ACCOMPANIMENT)]


def _load(
    track: Track, sample_rate: int | None, mixture: Source | None
) -> tuple[dict[str, Waveform], Waveform | None, int]:
    wanted: dict[str, Source] = dict(track.stems)
    if mixture is not None:
        wanted["mixture"] = mixture
    if not wanted:
        raise DatasetError(f"track '{track.name}' has neither stems nor a mixture")
    decoder = _Decoder(wanted.values())
    found = {stem: decoder.decode(source) for stem, source in wanted.items()}
    shapes = {stem: waveform.shape for stem, (waveform, _) in found.items()}
    rates = {rate for _, rate in found.values()}
    if len(rates) > 1 or len(set(shapes.values())) > 1:
        seen = ", ".join(f"{stem} {shape[0]} x {shape[1]}" for stem, shape in shapes.items())
        raise DatasetError(
            f"stems of '{track.name}' differ ({seen}; {sorted(rates)} Hz): make them equal in rate and length"
        )
    rate = rates.pop()
    waveforms = {stem: waveform for stem, (waveform, _) in found.items()}
    if sample_rate is not None and sample_rate != rate:
        waveforms = {stem: audio.resample(waveform, rate, sample_rate) for stem, waveform in waveforms.items()}
        rate = sample_rate
    mixed = waveforms.pop("mixture") if mixture is not None else None
    return waveforms, mixed, rate


class _Decoder:
    """Decodes sources of one track; a container of which several streams are wanted is read in one pass."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._wanted = Counter(file.path for source in sources for file in files_of(source) if file.stream is not None)
        self._streams: dict[Path, tuple[list[Waveform], int]] = {}

    def decode(self, source: Source) -> tuple[Waveform, int]:
        if isinstance(source, AudioSource):
            return self._file(source)
        return _add(source, [self._file(part.source) for part in source.parts])

    def _file(self, source: AudioSource) -> tuple[Waveform, int]:
        if source.stream is None or self._wanted[source.path] == 1:
            return audio.read(source.path, stream=source.stream)
        if source.path not in self._streams:
            self._streams[source.path] = audio.read_streams(source.path)
        streams, rate = self._streams[source.path]
        if source.stream >= len(streams):
            raise DatasetError(
                f"'{source.path}' has {len(streams)} audio streams, stream {source.stream} is missing: fetch it again"
            )
        return streams[source.stream], rate


def _add(source: Sum, decoded: list[tuple[Waveform, int]]) -> tuple[Waveform, int]:
    rate = max(rate for _, rate in decoded)
    waveforms = [audio.resample(waveform, own, rate) for waveform, own in decoded]
    channels = max(len(waveform) for waveform in waveforms)
    starts = [round(part.start_s * rate) for part in source.parts]
    ends = [start + waveform.shape[1] for start, waveform in zip(starts, waveforms, strict=True)]
    samples = max(ends) if source.duration_s is None else round(source.duration_s * rate)
    total = np.zeros((channels, samples), dtype=np.float32)
    for part, start, waveform in zip(source.parts, starts, waveforms, strict=True):
        if len(waveform) not in (1, channels):
            raise AudioError(f"'{part.source.path}' has {len(waveform)} channels: expected 1 or {channels}")
        piece = waveform[:, : max(0, samples - start)]
        total[:, start : start + piece.shape[1]] += np.float32(10 ** (part.gain_db / 20)) * piece
    return total, rate


def split_folder(root: Path, split: str) -> Path:
    """Return `root/split`, or `root` where the split has no name.

    Raises:
        DatasetError: The root is absent or unreadable, or the split is missing while others are there.
    """
    require_root(root)
    base = root / split if split else root
    if split and not base.is_dir():
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise DatasetError(f"'{root}' has no split '{split}': it holds {', '.join(folders[:8]) or 'no folders'}")
    if not os.access(base, os.R_OK | os.X_OK):
        raise DatasetError(f"dataset folder '{base}' cannot be read: check its permissions")
    return base


def require_root(root: Path) -> None:
    """Refuse a dataset folder that is not there or cannot be read.

    Raises:
        DatasetError: So it is.
    """
    if not root.is_dir():
        raise DatasetError(f"dataset folder '{root}' does not exist: check --data or --root")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(f"dataset folder '{root}' cannot be read: check its permissions")


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
