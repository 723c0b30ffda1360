"""Who plays each stem of a song: the synthesiser on the song's SoundFont, a drum kit, or a bass one-shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import mido
import numpy as np
from numpy.typing import NDArray

from sepgan.data.render.drums import avl_note
from sepgan.data.render.fluidsynth import DRUM_BANK, Synthesiser, drum_preset, play
from sepgan.data.render.kits import ONE_SHOTS, SOUNDFONT, BassSound, Instrument, Kit, assign, files_of
from sepgan.data.render.levels import active_level_db
from sepgan.data.render.midi import DRUM_CHANNEL
from sepgan.data.render.performance import Performance, Ranges, seed_of
from sepgan.data.render.sampler import KitRoom, Looseness, add_room, hits_of, play_bass, play_drums

DRUMS, BASS = "drums", "bass"
_BASS_SHARE = 0.5  # of the songs on a kit that has bass one-shots
_DRY_SHARE = 0.25  # of the songs on a kit have no room
_SPREAD_DB = 4.0  # by which one-shots of a class are louder or softer than usual
_AVL_NAMES = ("Black_Pearl", "Red_Zeppelin")  # of programs

Stems = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Band:
    """What was drawn for a song.

    Attributes:
        kit: Plays the drums, or None for the song's SoundFont.
        struck: Instrument of each drum note.
        bass: Plays the bass, or None for the SoundFont.
        loose: How much hits differ.
        room: Around the drums, or None for no room.
    """

    kit: Kit | None = None
    struck: Mapping[int, Instrument] | None = None
    bass: BassSound | None = None
    loose: Looseness = field(default_factory=Looseness)
    room: KitRoom | None = None

    def describe(self) -> dict[str, object]:
        """Return all of it for the record."""
        if self.kit is None:
            return {"kit": None}
        kit = {"name": self.kit.name, "kind": self.kit.kind, "sha256": self.kit.sha256}
        if self.kit.kind == SOUNDFONT:
            return {"kit": kit}
        struck = self.struck or {}
        return {
            "kit": kit,
            "sounds": files_of(struck),
            "peaks": {one.drum: one.peak for one in struck.values() if one.peak is not None},
            "bass": {"file": self.bass.path.name, "note": self.bass.note} if self.bass else None,
            "loose": asdict(self.loose),
            "room": asdict(self.room) if self.room else None,
        }


def draw_band(kits: Sequence[Kit], song: str, variant: int, seed: int, ranges: Ranges) -> Band:
    """Draw who plays, from the seed, the song and the take alone; other choices for the song stay as they are.

    Args:
        kits: Each is as likely as the SoundFont; consecutive takes have different ones.
        song: What the song is known by.
        variant: Which performance of it.
        seed: Of the whole set.
        ranges: Without room or velocities there is no room and no looseness.
    """
    order = np.random.default_rng(seed_of(seed, song, "kits")).permutation(len(kits) + 1)
    chosen = int(order[variant % len(order)])
    if chosen == 0:
        return Band()
    kit = kits[chosen - 1]
    if kit.kind == SOUNDFONT:
        return Band(kit)  # in the song's own room
    rng = np.random.default_rng(seed_of(seed, song, variant, "kit"))
    loose = Looseness(round(ranges.velocity * rng.uniform(2, 15), 2), round(ranges.velocity * rng.uniform(0.2, 1.2), 2))
    room = KitRoom(
        decay_s=round(rng.uniform(0.1, 0.8), 3),
        level_db=round(rng.uniform(-30.0, -12.0), 2),
        delay_s=round(rng.uniform(0.0, 0.02), 4),
        seed=int(rng.integers(2**32)),
    )
    dry, on_bass = rng.random() < _DRY_SHARE, rng.random() < _BASS_SHARE
    bass = kit.basses[int(rng.integers(len(kit.basses)))] if kit.kind == ONE_SHOTS and kit.basses and on_bass else None
    struck = assign(kit, rng, _SPREAD_DB * ranges.velocity)
    return Band(kit, struck, bass, loose, room if ranges.room and not dry else None)


def play_band(
    played: Mapping[str, mido.MidiFile],
    band: Band,
    synthesiser: Synthesiser,
    soundfont: Path,
    performance: Performance,
    sample_rate: int,
) -> Stems:
    """Play all stems.

    Args:
        played: Notes of each stem.
        band: Who plays.
        synthesiser: Plays what the band does not.
        soundfont: What it plays on.
        performance: Of the song.
        sample_rate: In Hz.

    Returns:
        Waveforms `[2, T]`, as loud as they come; where stems keep their levels, what samples play is as loud as the
        SoundFont would be.

    Raises:
        DatasetError: The synthesiser failed.
        AudioError: A sample cannot be read.
    """
    stems = {}
    for stem, notes in played.items():
        sampled = _sampled(stem, notes, band, synthesiser, performance, sample_rate)
        if sampled is None or not performance.level:
            stems[stem] = play(synthesiser, notes, soundfont, performance, sample_rate)
        if sampled is not None:
            gain_db = 0.0
            if not performance.level and stems[stem].any():
                gain_db = active_level_db(stems[stem]) - active_level_db(sampled)
            stems[stem] = sampled * np.float32(10 ** (gain_db / 20))
    return stems


def _sampled(
    stem: str,
    notes: mido.MidiFile,
    band: Band,
    synthesiser: Synthesiser,
    performance: Performance,
    sample_rate: int,
) -> NDArray[np.float32] | None:
    """A stem on samples, `[2, T]`, or None where the SoundFont plays it."""
    samples = round(notes.length * sample_rate)
    if stem == BASS and band.bass is not None:
        return play_bass(hits_of(notes), band.bass, samples, sample_rate)
    if stem != DRUMS or band.kit is None:
        return None
    if band.kit.kind == SOUNDFONT:
        return play(synthesiser, _retargeted(notes, band.kit.path), band.kit.path, performance, sample_rate)
    rng = np.random.default_rng(seed_of(performance.seed, "hits"))
    drums = play_drums(hits_of(notes), band.struck or {}, samples, sample_rate, rng, band.loose)
    return add_room(drums, band.room, sample_rate) if band.room else drums


def _retargeted(notes: mido.MidiFile, soundfont: Path) -> mido.MidiFile:
    """Drum notes for a SoundFont: some have their drums as a melodic program, which channel 10 does not reach."""
    bank, program, name = drum_preset(soundfont)
    if bank == DRUM_BANK:
        return notes
    avl = name.startswith(_AVL_NAMES)
    track = mido.MidiTrack()
    if bank:
        track.append(mido.Message("control_change", channel=0, control=0, value=bank))
    track.append(mido.Message("program_change", channel=0, program=program))
    waited = 0
    for message in notes.tracks[0]:
        waited += message.time
        channel = getattr(message, "channel", DRUM_CHANNEL)
        if channel == DRUM_CHANNEL and message.type != "program_change":
            moved = {"channel": 0} if hasattr(message, "channel") else {}
            if avl and message.type in ("note_on", "note_off"):
                note = avl_note(message.note)
                if note is None:
                    continue
                moved["note"] = note
            track.append(message.copy(time=waited, **moved))
            waited = 0
    return mido.MidiFile(type=0, ticks_per_beat=notes.ticks_per_beat, tracks=[track])
