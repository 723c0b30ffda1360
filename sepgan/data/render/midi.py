"""A MIDI file as events, and the events of each stem as a MIDI file of its own.

A note belongs to the drums on channel 10, to the bass where its General MIDI program is one of the eight basses, and to
`other` otherwise. Everything but notes (controllers, pitch bend, programs, tempo) goes to all stems, so a channel that
changes from a bass to a piano half-way is split between them, and each stem sounds as it did within the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from sepgan.data.augment.matching import Tags, estimate_key
from sepgan.data.render.performance import Performance
from sepgan.errors import DatasetError

STEMS = ("drums", "bass", "other")
DRUM_CHANNEL = 9  # counted from 0; "channel 10" in General MIDI
BASSES = range(32, 40)
TAIL_S = 3.0  # for releases and reverberation after the last event
SUFFIXES = (".mid", ".midi", ".kar")

_CHANNELS = 16
_DEFAULT_TEMPO = 500_000  # microseconds per beat, as the MIDI file standard says
_BANK_SELECT = (0, 32)  # controllers; the program alone says what is played
_PAN, _REVERB_SEND, _CHORUS_SEND, _SUSTAIN, _ALL_NOTES_OFF = 10, 91, 93, 64, 123
_KEPT = ("note_on", "note_off", "control_change", "program_change", "pitchwheel", "aftertouch", "polytouch")


@dataclass(frozen=True)
class Score:
    """What a MIDI file says, in order of time.

    Attributes:
        ticks_per_beat: Unit of the times.
        events: Time in ticks and message.
        duration_s: Up to the last event.
        digest: Of the notes alone: equal for copies of a song under two names.
    """

    ticks_per_beat: int
    events: tuple[tuple[int, mido.Message | mido.MetaMessage], ...]
    duration_s: float
    digest: str


def find(folder: Path) -> list[Path]:
    """Return the MIDI files below a folder, sorted; a single file is a list of itself.

    Raises:
        DatasetError: There is no such folder, or no MIDI file in it.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DatasetError(f"'{folder}' does not exist: give a MIDI file or a folder of them")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not files:
        raise DatasetError(f"no MIDI file below '{folder}': expected names that end in {', '.join(SUFFIXES)}")
    return files


def read(path: Path) -> Score:
    """Read a MIDI file.

    Raises:
        DatasetError: It is absent, damaged, has no notes, or is of a kind that has no one clock.
    """
    try:
        file = mido.MidiFile(path, clip=True)
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"'{path}' cannot be read as MIDI ({reason}): replace it or leave it out") from error
    if file.type == 2 or not 0 < file.ticks_per_beat < 0x8000:
        raise DatasetError(f"'{path}' has no common beat (type {file.type}): save it as MIDI type 0 or 1")
    events = []
    notes = []
    tick, seconds, tempo = 0, 0.0, _DEFAULT_TEMPO
    for message in mido.merge_tracks(file.tracks):
        tick += message.time
        seconds += mido.tick2second(message.time, file.ticks_per_beat, tempo)
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.type not in _KEPT:
            continue
        elif message.type == "note_on" and message.velocity:
            notes.append((round(1000 * seconds), message.channel, message.note))
        events.append((tick, message))
    if not notes:
        raise DatasetError(f"'{path}' has no notes: leave it out")
    digest = hashlib.sha256(repr(sorted(notes)).encode()).hexdigest()
    return Score(file.ticks_per_beat, tuple(events), seconds, digest)


def stem_of(channel: int, program: int) -> str:
    """Name the stem of a note.

    >>> stem_of(9, 33), stem_of(0, 33), stem_of(0, 40)
    ('drums', 'bass', 'other')
    """
    if channel == DRUM_CHANNEL:
        return "drums"
    return "bass" if program in BASSES else "other"


def split(score: Score, performance: Performance) -> dict[str, mido.MidiFile]:
    """Give each stem that has notes a MIDI file; all are equally long.

    Args:
        score: The song.
        performance: Programs, transposition, tempo and velocities to play it with.
    """
    tracks: dict[str, list[tuple[int, mido.Message | mido.MetaMessage]]] = {stem: [] for stem in STEMS}
    noted = set()
    program = [0] * _CHANNELS
    sounding: dict[tuple[int, int], list[tuple[str, int]]] = {}  # what a note-off will end
    velocities = performance.velocities()
    for message in _opening(performance):
        _to_all(tracks, 0, message)
    tempo = round(_DEFAULT_TEMPO / performance.tempo)
    _to_all(tracks, 0, mido.MetaMessage("set_tempo", tempo=tempo))
    for tick, message in score.events:
        if message.type == "set_tempo":
            tempo = min(max(round(message.tempo / performance.tempo), 1), 0xFFFFFF)
            _to_all(tracks, tick, mido.MetaMessage("set_tempo", tempo=tempo))
        elif message.type == "program_change":
            program[message.channel] = message.program
            played = performance.program(message.program, message.channel == DRUM_CHANNEL)
            _to_all(tracks, tick, message.copy(program=played))
        elif message.type == "note_on" and message.velocity:
            stem = stem_of(message.channel, program[message.channel])
            note = performance.note(message.note, message.channel == DRUM_CHANNEL)
            velocity = velocities(stem, message.velocity)
            tracks[stem].append((tick, message.copy(note=note, velocity=velocity)))
            sounding.setdefault((message.channel, message.note), []).append((stem, note))
            noted.add(stem)
        elif message.type in ("note_on", "note_off"):
            # A note-off without its note is a slip of the file; synthesisers ignore it, and so do we.
            for stem, note in sounding.pop((message.channel, message.note), [])[:1]:
                tracks[stem].append((tick, mido.Message("note_off", channel=message.channel, note=note)))
        elif message.type == "polytouch":
            continue  # no SoundFont listens to it, and its note would have to be followed
        elif not (message.type == "control_change" and message.control in _BANK_SELECT):
            _to_all(tracks, tick, message)
    return {stem: _file(tracks[stem], score, tempo) for stem in STEMS if stem in noted}


def key_of(stems: Mapping[str, mido.MidiFile]) -> Tags:
    """Return the key of a song by how long each pitch class sounds, drums aside; none where only drums play."""
    chroma = np.zeros(12)
    for stem, file in stems.items():
        if stem != "drums":
            for start_s, end_s, note, _, _ in note_bars(file):
                chroma[note % 12] += end_s - start_s
    return estimate_key(chroma)


def beats_s(score: Score, performance: Performance) -> list[float]:
    """Return the times of the beats of a song as it is played, in seconds."""
    changes = [(tick, message.tempo) for tick, message in score.events if message.type == "set_tempo"]
    times, now_s, tempo, before = [], 0.0, _DEFAULT_TEMPO, 0
    for tick in range(0, score.events[-1][0] + 1, score.ticks_per_beat):
        while changes and changes[0][0] <= tick:
            at, new = changes.pop(0)
            now_s += mido.tick2second(at - before, score.ticks_per_beat, tempo) / performance.tempo
            before, tempo = at, new
        now_s += mido.tick2second(tick - before, score.ticks_per_beat, tempo) / performance.tempo
        before = tick
        times.append(now_s)
    return times


def tempo_bpm(score: Score, performance: Performance) -> float | None:
    """Return the tempo of most beats of a song as it is played, in beats per minute; None where it has one at most."""
    lengths_s = np.round(np.diff(beats_s(score, performance)), 4)
    values, counts = np.unique(lengths_s[lengths_s > 0], return_counts=True)
    return round(60 / float(values[counts.argmax()]), 2) if len(values) else None


def note_bars(notes: mido.MidiFile) -> list[tuple[float, float, int, int, int]]:
    """List the notes of a MIDI file as (start in seconds, end in seconds, note, velocity, channel)."""
    bars = []
    open_notes: dict[tuple[int, int], tuple[float, int]] = {}
    now_s = 0.0
    for message in notes:  # in seconds
        now_s += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = (message.channel, message.note)
        if key in open_notes:
            start_s, velocity = open_notes.pop(key)
            bars.append((start_s, now_s, message.note, velocity, message.channel))
        if message.type == "note_on" and message.velocity:
            open_notes[key] = (now_s, message.velocity)
    bars += [(start_s, now_s, note, velocity, channel) for (channel, note), (start_s, velocity) in open_notes.items()]
    return sorted(bars)


def _opening(performance: Performance) -> list[mido.Message]:
    """What holds until the file itself says otherwise."""
    messages = []
    for channel in range(_CHANNELS):
        drums = channel == DRUM_CHANNEL
        settings: Mapping[int, int] = {
            _PAN: 64 if drums else performance.pans[channel],
            _REVERB_SEND: performance.reverb_sends[channel],
            _CHORUS_SEND: performance.chorus_sends[channel],
        }
        messages += [mido.Message("program_change", channel=channel, program=performance.program(0, drums))]
        messages += [
            mido.Message("control_change", channel=channel, control=control, value=value)
            for control, value in settings.items()
        ]
    return messages


def _to_all(
    tracks: Mapping[str, list[tuple[int, mido.Message | mido.MetaMessage]]],
    tick: int,
    message: mido.Message | mido.MetaMessage,
) -> None:
    for track in tracks.values():
        track.append((tick, message))


def _file(events: list[tuple[int, mido.Message | mido.MetaMessage]], score: Score, tempo: int) -> mido.MidiFile:
    end = score.events[-1][0]
    # Notes that the file forgets to end must end, and the player stops with the last event, so one more waits for the
    # tail; controller 3 has no meaning.
    closing = [
        (end, mido.Message("control_change", channel=channel, control=control, value=0))
        for channel in range(_CHANNELS)
        for control in (_SUSTAIN, _ALL_NOTES_OFF)
    ]
    last = end + round(mido.second2tick(TAIL_S, score.ticks_per_beat, tempo))
    track = mido.MidiTrack()
    before = 0
    for tick, message in [*events, *closing, (last, mido.Message("control_change", control=3, value=0))]:
        track.append(message.copy(time=tick - before))
        before = tick
    track.append(mido.MetaMessage("end_of_track", time=0))
    return mido.MidiFile(type=0, ticks_per_beat=score.ticks_per_beat, tracks=[track])
