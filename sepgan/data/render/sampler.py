"""Playing notes on samples: drums that ring and choke each other, bass notes on one pitched sound, and a room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
import soxr
from numpy.typing import NDArray

from sepgan import audio
from sepgan.data.render.kits import BassSound, Instrument, Layer

Waveform = NDArray[np.float32]

_VOLUME, _EXPRESSION = 7, 11  # controllers
_INAUDIBLE = 10 ** (-70 / 20)  # beside the peak of a sample; what comes after is cut off
_CHOKE_S, _RELEASE_S, _EDGE_S = 0.01, 0.03, 0.002  # fades: of a choked sound, of a bass note, of a cut sample
_DETUNED = (0, -1, 1)  # a hit is played at one of these times the drawn detuning; more would not be told apart
_OCTAVE = 12


@dataclass(frozen=True)
class Hit:
    """A note: when it begins and ends in seconds, the MIDI note, its velocity from 0 to 1, and its channel's level."""

    start_s: float
    end_s: float
    note: int
    velocity: float
    level: float


@dataclass(frozen=True)
class Looseness:
    """How much one hit differs from the next: pitch up or down by `cents`, level by a deviation of `level_db`."""

    cents: float = 0.0
    level_db: float = 0.0


@dataclass(frozen=True)
class KitRoom:
    """A room: how long it takes to fall by 60 dB, and its level beside the direct sound."""

    decay_s: float
    level_db: float
    delay_s: float
    seed: int


def hits_of(notes: mido.MidiFile) -> list[Hit]:
    """List the notes of a MIDI file in order of time; volume and expression count as they are where a note begins."""
    found: list[Hit] = []
    levels: dict[tuple[int, int], int] = {}
    sounding: dict[tuple[int, int], Hit] = {}
    now_s = 0.0

    def end(key: tuple[int, int]) -> None:
        if key in sounding:
            hit = sounding.pop(key)
            found.append(Hit(hit.start_s, now_s, hit.note, hit.velocity, hit.level))

    for message in notes:  # in seconds
        now_s += message.time
        if message.type == "control_change":
            levels[message.channel, message.control] = message.value
        elif message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            end(key)
            if message.type == "note_on" and message.velocity:
                volume, expression = levels.get((key[0], _VOLUME), 100), levels.get((key[0], _EXPRESSION), 127)
                level = (volume / 100 * expression / 127) ** 2  # as General MIDI has it
                sounding[key] = Hit(now_s, now_s, message.note, message.velocity / 127, level)
    for key in list(sounding):
        end(key)
    return sorted(found, key=lambda hit: (hit.start_s, hit.note, hit.velocity))


def play_drums(
    hits: Sequence[Hit],
    struck: Mapping[int, Instrument],
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
    loose: Looseness,
) -> Waveform:
    """Strike the drums; a note without an instrument is left out, and each rings on whatever the note's length.

    Args:
        hits: In order of time.
        struck: Instrument of each note.
        samples: Length T.
        sample_rate: In Hz.
        rng: Of samples for the same velocity, and of what is loose.
        loose: How much hits differ.

    Returns:
        `[2, T]`.

    Raises:
        AudioError: A sample cannot be read.
    """
    out = np.zeros((2, samples), np.float32)
    sounds: dict[tuple[Layer, int], Waveform] = {}
    scales = {one: _scale(one) for one in set(struck.values())}
    hits = [hit for hit in hits if hit.note in struck]
    until = _choked_at([(hit.start_s, struck[hit.note]) for hit in hits])
    for hit, end_s in zip(hits, until, strict=True):
        instrument = struck[hit.note]
        layer, detuned, jitter = _layer(instrument, hit.velocity, rng), int(rng.integers(3)), rng.standard_normal()
        key = layer, _DETUNED[detuned] if loose.cents else 0
        if key not in sounds:
            sounds[key] = _sound(layer.path, layer.semitones + key[1] * loose.cents / 100, sample_rate)
        # Samples of several layers bring their own dynamics; a single one has those of General MIDI.
        dynamics = hit.velocity ** (1 if len(instrument.layers) > 1 else 2)
        level = dynamics * hit.level * layer.gain * scales[instrument] * 10 ** (loose.level_db * jitter / 20)
        gains = np.array(instrument.gains, np.float32)[:, None] * np.float32(level)
        _add(out, sounds[key], gains, hit.start_s, end_s, _CHOKE_S, sample_rate)
    return out


def play_bass(hits: Sequence[Hit], bass: BassSound, samples: int, sample_rate: int) -> Waveform:
    """Play notes on a one-shot: at another speed for another pitch, an octave off where it is more than one away.

    Args:
        hits: In order of time; each ends with its note.
        bass: The sound.
        samples: Length T.
        sample_rate: In Hz.

    Returns:
        `[2, T]`.

    Raises:
        AudioError: The sample cannot be read.
    """
    out = np.zeros((2, samples), np.float32)
    sounds: dict[int, Waveform] = {}
    for hit in hits:
        shift = hit.note - bass.note
        while abs(shift) > _OCTAVE:
            shift -= _OCTAVE if shift > 0 else -_OCTAVE
        if shift not in sounds:
            sounds[shift] = _sound(bass.path, shift, sample_rate)
        gains = np.full((2, 1), hit.velocity**2 * hit.level, np.float32)
        _add(out, sounds[shift], gains, hit.start_s, hit.end_s, _RELEASE_S, sample_rate)
    return out


def add_room(waveform: Waveform, room: KitRoom, sample_rate: int) -> Waveform:
    """Add decaying noise as the reverberation of a small room.

    Args:
        waveform: `[2, T]`.
        room: Which.
        sample_rate: In Hz.

    Returns:
        Dry and wet, `[2, T]`.
    """
    from scipy.signal import oaconvolve

    length, delay = max(round(room.decay_s * sample_rate), 1), round(room.delay_s * sample_rate)
    noise = np.random.default_rng(room.seed).standard_normal((2, length)) * 10 ** (-3 * np.arange(length) / length)
    # Two neighbours averaged: walls swallow what is high.
    noise[:, 1:] += noise[:, :-1]
    noise *= 10 ** (room.level_db / 20) / np.sqrt(np.square(noise).sum(1, keepdims=True))
    response = np.pad(noise, ((0, 0), (delay, 0))).astype(np.float32)
    wet = oaconvolve(waveform, response, axes=1)[:, : waveform.shape[1]]
    return np.asarray(waveform + wet, dtype=np.float32)


def _layer(instrument: Instrument, velocity: float, rng: np.random.Generator) -> Layer:
    """A layer for this velocity, drawn where several are; between layers the nearest."""
    away = [max(layer.low - velocity, velocity - layer.high, 0.0) for layer in instrument.layers]
    fitting = [layer for layer, distance in zip(instrument.layers, away, strict=True) if distance == min(away)]
    return fitting[int(rng.integers(len(fitting)))]


def _choked_at(struck: Sequence[tuple[float, Instrument]]) -> list[float]:
    """When each hit falls silent: at the next of another instrument of its group, or never."""
    until, following = [np.inf] * len(struck), dict[str, dict[Instrument, float]]()
    for index in reversed(range(len(struck))):
        start_s, instrument = struck[index]
        if instrument.group:
            group = following.setdefault(instrument.group, {})
            later = [at_s for other, at_s in group.items() if other != instrument and at_s > start_s]
            until[index] = min(later, default=np.inf)
            group[instrument] = start_s
    return until


def _scale(instrument: Instrument) -> float:
    """What brings the loudest sample of an instrument to its peak."""
    if instrument.peak is None:
        return 1.0
    loudest = max(float(np.abs(audio.read(layer.path)[0]).max(initial=0.0)) for layer in instrument.layers)
    return instrument.peak / max(loudest, 1e-6)


def _sound(path: Path, semitones: float, sample_rate: int) -> Waveform:
    """A sample in stereo, `[2, T]`, at the song's rate and so many semitones higher, without its silent end."""
    waveform, rate = audio.read(path)
    waveform = waveform[:2] if len(waveform) > 1 else np.repeat(waveform, 2, 0)
    from_hz = rate * 2 ** (semitones / 12)
    if from_hz != sample_rate:  # at medium quality: 16 bit are written
        waveform = soxr.resample(np.ascontiguousarray(waveform.T), from_hz, sample_rate, quality="MQ").T
    loud = np.abs(waveform).max(0)
    above = np.flatnonzero(loud > _INAUDIBLE * loud.max(initial=0.0))
    end = int(above[-1]) + 1 if above.size else 0
    edge = min(round(_EDGE_S * sample_rate), waveform.shape[1] - end)
    kept = np.array(waveform[:, : end + edge], np.float32)
    kept[:, end:] *= np.linspace(1, 0, edge, dtype=np.float32)
    return kept


def _add(
    out: Waveform, sound: Waveform, gains: Waveform, start_s: float, end_s: float, fade_s: float, sample_rate: int
) -> None:
    """Add a sound from a time on, faded out from another."""
    begin = round(start_s * sample_rate)
    fade = round(fade_s * sample_rate)
    held = sound.shape[1] if np.isinf(end_s) else max(round(end_s * sample_rate) - begin, 0)
    length = min(sound.shape[1], held + fade, out.shape[1] - begin)
    if length <= 0:
        return
    piece = gains * sound[:, :length]
    if length > held:
        piece[:, held:] *= np.linspace(1, 0, fade + 1, dtype=np.float32)[1 : length - held + 1]
    out[:, begin : begin + length] += piece
