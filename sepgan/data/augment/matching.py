"""Tempo and key of songs, and how to bring one stem to those of another."""

from __future__ import annotations

from dataclasses import dataclass

from sepgan.data.augment.warp import Warp

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
