"""A SoundFont and MIDI files small enough to be made by tests."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import mido
import numpy as np

SAMPLE_RATE = 44100  # Hz
LOOP = 401  # samples: 110 Hz, which is note 45
TICKS = 480  # per beat, half a second long unless a tempo says otherwise

Note = tuple[int, int, float, float]
"""Channel from 0, note, start in beats, length in beats."""


def soundfont(path: Path, *, harmonics: int = 8) -> Path:
    """Write a SoundFont with one looped saw wave as the only instrument, for melodies (bank 0) and drums (bank 128).

    Args:
        path: The .sf2 file.
        harmonics: Of the saw.
    """
    phase = 2 * np.pi * np.arange(LOOP * 4) / LOOP
    wave = sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))
    samples = (0.5 * 32767 * wave / np.abs(wave).max()).astype("<i2")
    padded = np.concatenate([samples, np.zeros(46, "<i2")])  # the format asks for 46 silent samples at the end
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"test saw\0\0")
    key = round(69 + 12 * np.log2(SAMPLE_RATE / LOOP / 440))
    presets = [(b"saw", 0, 0), (b"drums", 128, 1), (b"EOP", 0, 2)]  # name, bank, bag
    sample = _name(b"saw") + struct.pack("<5IBbHH", 0, len(samples), LOOP, 3 * LOOP, SAMPLE_RATE, key, 0, 0, 1)
    data = [
        (b"phdr", [_name(name) + struct.pack("<HHH3I", 0, bank, bag, 0, 0, 0) for name, bank, bag in presets]),
        (b"pbag", [struct.pack("<HH", index, 0) for index in range(3)]),
        (b"pmod", [bytes(10)]),
        (b"pgen", [struct.pack("<HH", 41, 0)] * 2 + [bytes(4)]),  # instrument 0 for both
        (b"inst", [_name(b"saw") + struct.pack("<H", 0), _name(b"EOI") + struct.pack("<H", 1)]),
        (b"ibag", [struct.pack("<HH", 0, 0), struct.pack("<HH", 2, 0)]),
        (b"imod", [bytes(10)]),
        (b"igen", [struct.pack("<HH", 54, 1), struct.pack("<HH", 53, 0), bytes(4)]),  # looped; sample 0
        (b"shdr", [sample, _name(b"EOS") + bytes(26)]),
    ]  # fmt: skip
    lists = [
        (b"INFO", info),
        (b"sdta", _chunk(b"smpl", padded.tobytes())),
        (b"pdta", b"".join(_chunk(name, b"".join(records)) for name, records in data)),
    ]
    path.write_bytes(_chunk(b"RIFF", b"sfbk" + b"".join(_chunk(b"LIST", name + body) for name, body in lists)))
    return path


def midi_file(
    path: Path,
    notes: Sequence[Note] = ((0, 45, 0, 4), (1, 64, 0, 2), (9, 38, 1, 1)),
    *,
    programs: Iterable[tuple[int, int]] = ((0, 33), (1, 24)),
    extra: Iterable[tuple[float, mido.Message | mido.MetaMessage]] = (),
) -> Path:
    """Write a MIDI file; by default a bass note, a guitar note and a drum.

    Args:
        path: The file.
        notes: What is played.
        programs: Channel and program, set at the start.
        extra: Time in beats and message.
    """
    events = [
        (0.0, 0, mido.Message("program_change", channel=channel, program=program)) for channel, program in programs
    ]
    events += [(beat, 1, message) for beat, message in extra]
    for channel, note, start, length in notes:
        events.append((start, 3, mido.Message("note_on", channel=channel, note=note, velocity=100)))
        events.append((start + length, 2, mido.Message("note_off", channel=channel, note=note)))
    file = mido.MidiFile(type=0, ticks_per_beat=TICKS)
    track = mido.MidiTrack()
    before = 0
    for beat, _, message in sorted(events, key=lambda event: event[:2]):
        tick = round(beat * TICKS)
        track.append(message.copy(time=tick - before))
        before = tick
    file.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(path)
    return path


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _name(name: bytes) -> bytes:
    return name.ljust(20, b"\0")
