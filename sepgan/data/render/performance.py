"""How a song is played: every random choice of a rendered song, drawn from its seed before anything sounds.

The same song, variant and seed give the same performance, whatever else is rendered and in whatever order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FAMILY = 8  # General MIDI lists its programs in families of eight
KITS = (0, 8, 16, 24, 25, 32, 40, 48)  # drum kits of GS; a SoundFont without one plays its standard kit
# Synthetic voices are no singers, and must not teach a separator that singing is `other`: choir, oohs, synth voice,
# voice lead and choir pad become another instrument of their family.
VOICES = frozenset({52, 53, 54, 85, 91})
_STRUCK = frozenset({47, 55})  # timpani and orchestra hit stand alone in families of sustained strings
_UNTOUCHED = range(112, 128)  # percussion and sound effects have nothing in common within their family
_SAME_DRUMS = ((35, 36), (38, 40))  # two bass drums, two snares


@dataclass(frozen=True)
class Ranges:
    """How far a performance may stray from the file.

    Attributes:
        transpose: Most semitones up or down; drums stay.
        tempo: Most relative change; 0.1 is 10 % faster or slower.
        gain_db: Most change of a stem's level, up or down.
        level: Whether stems are first made equally loud where they play; General MIDI files are mixed for synthesisers
            whose programs differ by 30 dB from one SoundFont to the next.
        programs: Probability that an instrument becomes another of its family.
        velocity: How much velocities vary: 1 is the usual, 0 leaves them.
        room: Whether reverberation, chorus and panning are drawn; else they are fluidsynth's own.
    """

    transpose: int = 3
    tempo: float = 0.1
    gain_db: float = 4.0
    level: bool = True
    programs: float = 0.7
    velocity: float = 1.0
    room: bool = True


PLAIN = Ranges(transpose=0, tempo=0.0, gain_db=0.0, level=False, programs=0.0, velocity=0.0, room=False)


@dataclass(frozen=True)
class Reverb:
    """Settings of fluidsynth's reverberation."""

    room_size: float = 0.2
    damp: float = 0.0
    width: float = 0.5
    level: float = 0.9


@dataclass(frozen=True)
class Chorus:
    """Settings of fluidsynth's chorus."""

    voices: int = 3
    level: float = 2.0
    speed_hz: float = 0.3
    depth_ms: float = 8.0


@dataclass(frozen=True)
class Performance:
    """All choices for one song.

    Attributes:
        seed: Of the velocities of single notes.
        soundfont: Index of the SoundFont.
        programs: What is played for each of the 128 programs.
        kit: Drum program.
        drum_notes: Drum notes that are struck as another.
        transpose: Semitones.
        tempo: Factor; above 1 is faster.
        level: Whether stems are made equally loud before their gains.
        gains_db: By stem.
        velocity_scales: By stem.
        velocity_curves: By stem: exponent on velocities of 0 to 1.
        velocity_jitter: Standard deviation of a note's velocity.
        pans: By channel, 0 to 127.
        reverb_sends: By channel, 0 to 127.
        chorus_sends: By channel, 0 to 127.
        reverb: Of the song.
        chorus: Of the song.
    """

    seed: int
    soundfont: int
    programs: tuple[int, ...]
    kit: int
    drum_notes: dict[int, int]
    transpose: int
    tempo: float
    level: bool
    gains_db: dict[str, float]
    velocity_scales: dict[str, float]
    velocity_curves: dict[str, float]
    velocity_jitter: float
    pans: tuple[int, ...]
    reverb_sends: tuple[int, ...]
    chorus_sends: tuple[int, ...]
    reverb: Reverb
    chorus: Chorus

    def program(self, program: int, drums: bool) -> int:
        """Return the program that is played for one of the file."""
        return self.kit if drums else self.programs[program]

    def note(self, note: int, drums: bool) -> int:
        """Return the note that is played for one of the file; what leaves the keyboard returns an octave nearer."""
        if drums:
            return self.drum_notes.get(note, note)
        shifted = note + self.transpose
        return shifted + 12 * (shifted < 0) - 12 * (shifted > 127)

    def velocities(self) -> Callable[[str, int], int]:
        """Return a function from stem and velocity to the velocity that is played, to be called note by note."""
        rng = np.random.default_rng(self.seed)

        def play(stem: str, velocity: int) -> int:
            scaled = 127 * self.velocity_scales[stem] * (velocity / 127) ** self.velocity_curves[stem]
            return int(np.clip(round(scaled + self.velocity_jitter * rng.standard_normal()), 1, 127))

        return play


def seed_of(*parts: object) -> int:
    """Return a seed that depends on all parts and on nothing else, on any machine.

    >>> seed_of(0, "song") == seed_of(0, "song") != seed_of(1, "song")
    True
    """
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def draw(song: str, variant: int, seed: int, soundfonts: int, stems: tuple[str, ...], ranges: Ranges) -> Performance:
    """Draw a performance.

    Args:
        song: What the song is known by.
        variant: Which of several performances of it; consecutive ones use different SoundFonts.
        seed: Of the whole set.
        soundfonts: How many there are.
        stems: Their names.
        ranges: How far it may stray.
    """
    order = np.random.default_rng(seed_of(seed, song)).permutation(soundfonts)
    own_seed = seed_of(seed, song, variant)
    rng = np.random.default_rng(own_seed)
    plain = Reverb(), Chorus()
    reverb = Reverb(
        room_size=_round(rng.uniform(0.1, 0.9)),
        damp=_round(rng.uniform(0.0, 0.8)),
        width=_round(rng.uniform(0.2, 1.0)),
        level=_round(rng.uniform(0.2, 0.9)),
    )
    chorus = Chorus(
        voices=int(rng.integers(2, 6)),
        level=_round(rng.uniform(0.5, 3.0)),
        speed_hz=_round(rng.uniform(0.2, 0.8)),
        depth_ms=_round(rng.uniform(2.0, 10.0)),
    )
    sends = rng.integers(5, 80, 16), rng.integers(0, 40, 16), rng.integers(34, 95, 16)
    programs = tuple(_another(rng, program, ranges.programs) for program in range(128))
    kit = int(rng.choice(KITS)) if rng.random() < ranges.programs else 0
    drum_notes: dict[int, int] = {}
    for first, second in _SAME_DRUMS:
        if rng.random() < ranges.programs / 2:
            drum_notes |= {first: second, second: first}
    flat = (40,) * 16, (0,) * 16, (64,) * 16
    reverbs, choruses, pans = (tuple(map(int, values)) for values in (sends if ranges.room else flat))
    return Performance(
        seed=own_seed,
        soundfont=int(order[variant % soundfonts]),
        programs=programs,
        kit=kit,
        drum_notes=drum_notes,
        transpose=int(rng.integers(-ranges.transpose, ranges.transpose + 1)),
        tempo=_round(1 + rng.uniform(-ranges.tempo, ranges.tempo)),
        level=ranges.level,
        gains_db={stem: _round(rng.uniform(-ranges.gain_db, ranges.gain_db)) for stem in stems},
        velocity_scales={stem: _round(1 - 0.25 * ranges.velocity * rng.random()) for stem in stems},
        velocity_curves={stem: _round(1 + 0.4 * ranges.velocity * rng.uniform(-1, 1)) for stem in stems},
        velocity_jitter=_round(4 * ranges.velocity * rng.random()),
        pans=pans,
        reverb_sends=reverbs,
        chorus_sends=choruses,
        reverb=reverb if ranges.room else plain[0],
        chorus=chorus if ranges.room else plain[1],
    )


def _another(rng: np.random.Generator, program: int, probability: float) -> int:
    """Another program of the family; the draws are made in any case, so that one choice does not move the others."""
    wanted, choice = rng.random() < probability, int(rng.integers(FAMILY))
    if program in _UNTOUCHED or program in _STRUCK:
        return program
    family = [
        other
        for other in range(program // FAMILY * FAMILY, program // FAMILY * FAMILY + FAMILY)
        if other not in VOICES and other not in _STRUCK
    ]
    return family[choice % len(family)] if wanted or program in VOICES else program


def _round(value: float) -> float:
    """Four decimals are more than anyone hears, and read well in the provenance."""
    return round(float(value), 4)
