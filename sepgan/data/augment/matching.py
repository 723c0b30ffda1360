"""Tempo and key of songs, and how to bring one stem to those of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sepgan.data.augment.warp import Warp

# How much each pitch class belongs to a key, from its tonic up (Krumhansl, Cognitive Foundations of Musical Pitch,
# 1990).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
MINOR_OFFSET = 3  # semitones from a minor key up to the major key with the same notes


@dataclass(frozen=True)
class Tags:
    """What is known of a song; what is not known is None and is not matched.

    Attributes:
        tempo_bpm: Beats per minute.
        key: Pitch class of the tonic, 0 for C to 11 for B.
        minor: Whether the key is minor.
    """

    tempo_bpm: float | None = None
    key: int | None = None
    minor: bool = False


def match(stem: Tags, song: Tags, *, most_semitones: int = 3, most_tempo: float = 0.15) -> Warp | None:
    """Return how a stem must be changed to fit a song, or None where it takes too much.

    A tempo fits at half and double speed too, and a minor key fits the major key with the same notes.

    Args:
        stem: Of the sound to change.
        song: Of the song to fit.
        most_semitones: Largest shift.
        most_tempo: Largest relative change of tempo.

    >>> match(Tags(100.0, 0), Tags(110.0, 2)).tempo
    1.1
    >>> match(Tags(key=0), Tags(key=6)) is None
    True
    """
    pitch = tempo = 1.0
    if stem.key is not None and song.key is not None:
        shift = (_notes(song) - _notes(stem) + 6) % 12 - 6
        if abs(shift) > most_semitones:
            return None
        pitch = 2 ** (shift / 12)
    if stem.tempo_bpm and song.tempo_bpm:
        tempo = min((song.tempo_bpm * factor / stem.tempo_bpm for factor in (0.5, 1, 2)), key=lambda f: abs(f - 1))
        if abs(tempo - 1) > most_tempo:
            return None
    return Warp(pitch, tempo)


def _notes(tags: Tags) -> int:
    """The major key with the notes of a song's key."""
    assert tags.key is not None
    return (tags.key + MINOR_OFFSET * tags.minor) % 12


def estimate_key(chroma: ArrayLike) -> Tags:
    """Return the key whose profile correlates best with how much each pitch class is heard.

    Args:
        chroma: Weights of the twelve pitch classes from C up; all equal ones have no key.

    >>> estimate_key([2, 0, 1, 0, 1, 1, 0, 2, 0, 1, 0, 1])
    Tags(tempo_bpm=None, key=0, minor=False)
    """
    weights = np.asarray(chroma, dtype=np.float64)
    if np.ptp(weights) == 0:
        return Tags()
    scores = [
        (float(np.corrcoef(weights, np.roll(profile, key))[0, 1]), key, minor)
        for minor, profile in ((False, _MAJOR), (True, _MINOR))
        for key in range(12)
    ]
    _, key, minor = max(scores)
    return Tags(key=key, minor=minor)
