"""MAPS (Emiya et al., 2010): 65 hours of piano with its notes, nine pianos, stereo 44.1 kHz; CC BY-NC-SA.

Seven configurations are synthesised, the two `ENST*` are recordings of a Disklavier. Each file belongs to one of four
categories: `ISOL` isolated notes and scales, `RAND` random chords, `UCHO` usual chords, `MUS` pieces of music. What a
file holds stands in its name, and its notes in a `.txt` and a `.mid` file beside it.

Splits: `test` is the real piano, as everywhere since Sigtia et al. (2016). `train+valid` is the usual training set: the
synthesised pianos without those pieces that the test pianos play too (Hawthorne et al., 2018). There is no customary
validation set; here `valid` is one synthesised piano, `StbgTGd2`, and `train` the other six without its pieces. The
name of a configuration is a split too, with all its pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sepgan.data.track import AudioSource, Track, require_root
from sepgan.errors import DatasetError

SYNTHESISED = ("AkPnBcht", "AkPnBsdf", "AkPnCGdD", "AkPnStgb", "SptkBGAm", "SptkBGCl", "StbgTGd2")
RECORDED = ("ENSTDkAm", "ENSTDkCl")
CONFIGURATIONS = (*SYNTHESISED, *RECORDED)
HELD_OUT = "StbgTGd2"
SPLITS = ("train", "valid", "train+valid", "test")
CATEGORIES = ("ISOL", "RAND", "UCHO", "MUS")
LICENCE = "CC BY-NC-SA 2.0 FR"
STEM = "piano"

_LOUDNESS = {"P": "piano", "M": "mezzo-forte", "F": "forte"}
_FIELDS = {
    "pitch": re.compile(r"M(\d+)"),  # MIDI number of an isolated note
    "range": re.compile(r"M(\d+-\d+)"),  # MIDI numbers between which notes were drawn
    "intensity": re.compile(r"I(\d+-\d+)"),  # MIDI velocities between which they were drawn
    "sustain": re.compile(r"S([01])"),  # pedal
    "polyphony": re.compile(r"P(\d+)"),
    "chord": re.compile(r"C(\d+(?:-\d+)*)"),  # semitones above the lowest note
    "number": re.compile(r"n(\d+)"),
}


class Note(NamedTuple):
    """A note of a list."""

    onset_s: float
    offset_s: float
    pitch: int  # MIDI


def maps(root: Path, split: str) -> list[Track]:
    """Recordings of MAPS: `<configuration>/<category>/.../MAPS_<what>_<configuration>.wav`, the stem `piano` each.

    Raises:
        DatasetError: The folder is absent, the split unknown, or there is no recording of it.
    """
    require_root(root)
    members = configurations_of(split)
    tracks = [track for name in members for track in _recordings(root, name, split)]
    excluded = set(RECORDED) - set(members)
    if split == "train":
        excluded.add(HELD_OUT)
    if split in SPLITS:
        taken = {piece for name in excluded for piece in _pieces(root, name)}
        tracks = [track for track in tracks if track.labels.get("piece") not in taken]
    if not tracks:
        raise DatasetError(
            f"no track in '{root}' for split '{split}': expected <piano>/MUS/MAPS_MUS-<piece>_<piano>.wav below it, "
            f"of {', '.join(members)}"
        )
    return sorted(tracks, key=lambda track: track.name)


def parse_name(name: str) -> dict[str, str]:
    """Return what the name of a MAPS file says, without its ending.

    >>> parse_name("MAPS_MUS-alb_se3_AkPnBcht")
    {'configuration': 'AkPnBcht', 'category': 'MUS', 'piece': 'alb_se3'}
    >>> note = parse_name("MAPS_ISOL_NO_P_S0_M60_AkPnBcht")
    >>> note["style"], note["loudness"], note["sustain"], note["pitch"]
    ('NO', 'piano', '0', '60')

    Raises:
        DatasetError: It is no name of a MAPS file.
    """
    match = re.fullmatch(r"MAPS_(MUS|ISOL|RAND|UCHO)[-_](.+)_([A-Za-z0-9]+)", name)
    if match is None or match[3] not in CONFIGURATIONS:
        raise DatasetError(f"'{name}' is no name of MAPS: expected MAPS_<category>_<fields>_<configuration>")
    category, rest, configuration = match.groups()
    found = {"configuration": configuration, "category": category}
    if category == "MUS":
        return found | {"piece": rest}
    fields = rest.split("_")
    if category == "ISOL":
        found["style"] = fields.pop(0)
    for field in fields:
        if field in _LOUDNESS:
            found["loudness"] = _LOUDNESS[field]
            continue
        known = next(((key, hit[1]) for key, form in _FIELDS.items() if (hit := form.fullmatch(field))), None)
        if known is None:
            raise DatasetError(f"'{name}' has the unknown field '{field}': rename the file as MAPS does")
        found[known[0]] = known[1]
    return found


def read_txt(file: Path) -> list[Note]:
    """Read a note list: tab-separated onset and offset in seconds and MIDI pitch below a header.

    Raises:
        DatasetError: The file is absent or holds something else.
    """
    try:
        header, *rows = file.read_text(encoding="ascii").splitlines()
        if header.split() != ["OnsetTime", "OffsetTime", "MidiPitch"]:
            raise ValueError(f"the header is '{header}'")
        notes = [
            Note(float(onset), float(offset), int(pitch))
            for onset, offset, pitch in map(str.split, filter(str.strip, rows))
        ]
    except (OSError, ValueError) as error:
        raise DatasetError(f"note list '{file}' cannot be read: {error}; fetch it again") from error
    return sorted(notes)


def read_midi(file: Path) -> list[Note]:
    """Read the notes of a Standard MIDI file, tempo changes observed, the pedal not.

    Raises:
        DatasetError: The file is absent or damaged, or mido is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise DatasetError("reading MIDI needs mido: install it with `pip install 'sepgan[data]'`") from error
    try:
        messages = list(mido.MidiFile(str(file)))  # in order of time, with time in seconds since the one before
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise DatasetError(f"MIDI file '{file}' cannot be read: {error!r}; fetch it again") from error
    now_s = 0.0
    sounding: dict[int, list[float]] = {}
    notes = []
    for message in messages:
        now_s += message.time
        if message.type == "note_on" and message.velocity > 0:
            sounding.setdefault(message.note, []).append(now_s)
        elif message.type in ("note_on", "note_off") and sounding.get(message.note):
            notes.append(Note(sounding[message.note].pop(0), now_s, message.note))
    return sorted(notes)


def compare_notes(first: Sequence[Note], second: Sequence[Note], tolerance_s: float = 0.01) -> int:
    """Return how many notes of the two lists have no partner of the same pitch and onset in the other.

    Offsets are not compared: lists differ in whether the pedal lengthens a note.

    >>> compare_notes([Note(0.0, 1.0, 60), Note(1.0, 2.0, 62)], [Note(0.004, 0.5, 60)])
    1
    """
    unmatched = 0
    for pitch in {note.pitch for note in (*first, *second)}:
        left = sorted(note.onset_s for note in first if note.pitch == pitch)
        right = sorted(note.onset_s for note in second if note.pitch == pitch)
        while left and right:
            if abs(left[0] - right[0]) <= tolerance_s:
                del left[0], right[0]
            else:
                unmatched += 1
                del (left if left[0] < right[0] else right)[0]
        unmatched += len(left) + len(right)
    return unmatched


def note_files(track: Track) -> tuple[Path, Path]:
    """Return the `.txt` and `.mid` files that belong to a recording."""
    source = track.stems[STEM]
    assert isinstance(source, AudioSource)
    return source.path.with_suffix(".txt"), source.path.with_suffix(".mid")


def configurations_of(split: str) -> tuple[str, ...]:
    """Return the pianos in a split.

    Raises:
        DatasetError: There is no such split.
    """
    known = {
        "train": tuple(name for name in SYNTHESISED if name != HELD_OUT),
        "valid": (HELD_OUT,),
        "train+valid": SYNTHESISED,
        "test": RECORDED,
    }
    if split in known:
        return known[split]
    if split in CONFIGURATIONS:
        return (split,)
    raise DatasetError(f"MAPS has no split '{split}': choose one of {', '.join((*SPLITS, *CONFIGURATIONS))}")


def _files(root: Path, configuration: str) -> Iterator[Path]:
    folder = root / configuration
    for category in CATEGORIES:
        if (folder / category).is_dir():
            yield from (folder / category).rglob(f"MAPS_{category}[-_]*_{configuration}.wav")


def _recordings(root: Path, configuration: str, split: str) -> Iterator[Track]:
    for file in _files(root, configuration):
        labels = parse_name(file.stem)
        yield Track(file.stem, split, {STEM: AudioSource(file)}, labels=labels | {"licence": LICENCE})


def _pieces(root: Path, configuration: str) -> set[str]:
    return {parse_name(file.stem)["piece"] for file in _files(root, configuration) if file.stem.startswith("MAPS_MUS")}
