"""Real singing over a rendered song: phrases of recordings in a fitting key, begun on beats.

The key of a song is known from its notes, that of a recording is estimated from its chroma. A recording is used where
it needs a shift of at most three semitones; beyond that voices sound unnatural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sepgan import audio
from sepgan.data.augment import Tags, Warp, match
from sepgan.data.augment.augmenter import Augmenter
from sepgan.data.augment.drawing import Drawn
from sepgan.data.augment.filters import Room
from sepgan.data.augment.matching import estimate_key
from sepgan.data.augment.warp import apply_warp
from sepgan.data.track import AUDIO_SUFFIXES
from sepgan.errors import DatasetError
from sepgan.recipe import AugmentationRecipe

MOST_SEMITONES = 3
_SILENT_DB = 35.0  # below the loudest: a pause between phrases
_LEAST_PEAK = 1e-3  # of a recording that is not silent
_BREATH_S = 0.4  # shorter pauses lie within a phrase
_SHORTEST_S, _LONGEST_S = 1.0, 12.0  # of a phrase
_GAPS_S = (0.3, 4.0)  # between phrases, before the next beat is waited for
_FADE_S = 0.01
_ANALYSIS_HZ = 22050

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A recording of one singer.

    Attributes:
        path: The file.
        sha256: Of the file.
        tags: Its key.
        phrases: Start and end of each, in seconds.
    """

    path: Path
    sha256: str
    tags: Tags
    phrases: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Placed:
    """A phrase within a song: of which recording, where it is taken from and put to, and its shift."""

    recording: Recording
    start_s: float
    end_s: float
    at_s: float
    semitones: int


def find(folder: Path) -> list[Path]:
    """Return the recordings below a folder, sorted.

    Raises:
        DatasetError: There is none.
    """
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise DatasetError(f"no recording of singing below '{folder}': expected wav, flac, ogg or mp3 files")
    return files


def listen(path: Path, sha256: str) -> Recording | None:
    """Estimate the key of a recording and find its phrases; None where it has none.

    Args:
        path: The file.
        sha256: Of the file.

    Raises:
        AudioError: The file cannot be read.
    """
    import librosa

    mono = audio.read(path, sample_rate=_ANALYSIS_HZ)[0].mean(0)
    if not np.abs(mono).max(initial=0.0) > _LEAST_PEAK:
        return None
    sounding = librosa.effects.split(mono, top_db=_SILENT_DB, frame_length=2048, hop_length=512) / _ANALYSIS_HZ
    phrases: list[tuple[float, float]] = []
    for start_s, end_s in sounding.tolist():
        if phrases and start_s - phrases[-1][1] < _BREATH_S and end_s - phrases[-1][0] < _LONGEST_S:
            phrases[-1] = (phrases[-1][0], end_s)
        else:
            phrases.append((start_s, min(end_s, start_s + _LONGEST_S)))
    phrases = [(start_s, end_s) for start_s, end_s in phrases if end_s - start_s >= _SHORTEST_S]
    if not phrases:
        return None
    chroma = librosa.feature.chroma_stft(y=mono, sr=_ANALYSIS_HZ, n_fft=4096, hop_length=2048).sum(1)
    return Recording(path, sha256, estimate_key(chroma), tuple(phrases))


def place(
    recordings: Sequence[Recording], song: Tags, beats_s: Sequence[float], duration_s: float, rng: np.random.Generator
) -> list[Placed]:
    """Choose phrases and where they begin; each begins on a beat, and none overlap or pass the end.

    Args:
        recordings: To choose from.
        song: Its key.
        beats_s: Times of the song's beats.
        duration_s: Of the song.
        rng: Of all choices.

    Returns:
        Phrases in order of time; none where no recording fits the key.
    """
    fitting = [
        (recording, warp)
        for recording in recordings
        if (warp := match(recording.tags, song, most_semitones=MOST_SEMITONES)) is not None
    ]
    placed: list[Placed] = []
    now_s = float(rng.uniform(*_GAPS_S))
    while fitting:
        recording, warp = fitting[int(rng.integers(len(fitting)))]
        semitones = round(12 * np.log2(warp.pitch))
        # A few phrases of one voice follow each other, as in a verse.
        first = int(rng.integers(len(recording.phrases)))
        for start_s, end_s in recording.phrases[first : first + 4]:
            at_s = next((beat_s for beat_s in beats_s if beat_s >= now_s), None)
            if at_s is None or at_s + end_s - start_s > duration_s:
                return placed
            placed.append(Placed(recording, start_s, end_s, at_s, semitones))
            now_s = at_s + end_s - start_s + float(rng.uniform(*_GAPS_S))
    return placed


def phrase_bars(placed: Sequence[Placed]) -> list[tuple[float, float, int, int, int]]:
    """Phrases as bars of a picture: when, how far shifted, and coloured by recording."""
    order = {recording: index for index, recording in enumerate(dict.fromkeys(one.recording for one in placed))}
    return [(one.at_s, one.at_s + one.end_s - one.start_s, one.semitones, 127, order[one.recording]) for one in placed]


def sing(placed: Sequence[Placed], samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Return the voice: shifted phrases in their places, in one room.

    Args:
        placed: The phrases.
        samples: Length T of the song.
        sample_rate: In Hz.
        rng: Of the room.

    Returns:
        `[2, T]`.

    Raises:
        AudioError: A recording cannot be read.
    """
    voice = np.zeros((1, samples), np.float32)
    known: dict[Path, Waveform] = {}
    for phrase in placed:
        path = phrase.recording.path
        if path not in known:
            known = {path: audio.read(path, sample_rate=sample_rate)[0].mean(0, keepdims=True)}
        piece = known[path][:, round(phrase.start_s * sample_rate) : round(phrase.end_s * sample_rate)]
        piece = piece / max(float(np.sqrt(np.square(piece).mean())), 1e-9)  # recordings differ in level by far
        if phrase.semitones:
            warp = Warp(pitch=2 ** (phrase.semitones / 12))
            piece = apply_warp(torch.from_numpy(np.ascontiguousarray(piece)), warp).numpy()
        fade = min(round(_FADE_S * sample_rate), piece.shape[1] // 2)
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        piece = piece.copy()
        piece[:, :fade] *= ramp
        piece[:, piece.shape[1] - fade :] *= ramp[::-1]
        begin = round(phrase.at_s * sample_rate)
        end = min(begin + piece.shape[1], samples)
        voice[:, begin:end] += piece[:, : end - begin]
    room = Room(
        decay_s=float(rng.uniform(0.3, 1.5)),
        level_db=float(rng.uniform(-24.0, -10.0)),
        damp_hz=float(rng.uniform(2000.0, 6000.0)),
        delay_s=float(rng.uniform(0.0, 0.03)),
        seed=int(rng.integers(2**32)),
    )
    stereo = torch.from_numpy(np.repeat(voice, 2, 0))
    wet = Augmenter(AugmentationRecipe(), sample_rate).apply(stereo[None], [Drawn(room=room)])[0]
    return np.asarray(wet.numpy())
