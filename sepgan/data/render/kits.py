"""Drum kits of samples: kits of Hydrogen, folders of one-shots, and SoundFonts that hold nothing but drums.

Hydrogen: https://hydrogen-music.org. Its filters and envelopes are left aside: drums are struck and ring.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from sepgan import audio
from sepgan.data.render.drums import HATS, OF_NOTE, REQUIRED, STAND_INS, class_of, family
from sepgan.data.render.fluidsynth import check_soundfont
from sepgan.data.render.pitch import note_of, note_of_name
from sepgan.errors import DatasetError

HYDROGEN, ONE_SHOTS, SOUNDFONT = "hydrogen", "one-shots", "soundfont"  # kinds

_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".ogg")
_SOFT = 0.6  # velocity below which `x_soft` is played, where there is an `x_hard`
_OPEN_S = 0.3  # a hi-hat that rings longer is open
_RUNG_DOWN_DB = -30.0
_UNSET_NOTE = 60  # of a Hydrogen instrument whose maker gave it none
_FIRST_NOTE = 36  # of Hydrogen's instruments in their order
# One-shots of a folder have nothing in common, so each class gets the peak it has within a usual mix; and where in the
# stereo image it stands, -1 is left. Kits of Hydrogen say so themselves.
_PEAKS = {"kick": 0.9, "snare": 0.9, "tom": 0.7, "hat": 0.45, "ride": 0.45, "shaker": 0.4, "crash": 0.6}
_PEAK = 0.6
_PANS = {"hat": -0.4, "tom_high": 0.3, "tom_low": -0.3, "tom_floor": -0.6, "crash": 0.5, "ride": 0.6, "hand": 0.4}


@dataclass(frozen=True)
class Layer:
    """A sample for velocities from `low` to `high` (0 to 1), its gain and how many semitones higher it is played."""

    path: Path
    low: float = 0.0
    high: float = 1.0
    gain: float = 1.0
    semitones: float = 0.0


@dataclass(frozen=True)
class Instrument:
    """A sound of a kit.

    Attributes:
        drum: Its class.
        layers: At least one.
        gains: Left and right.
        group: Instruments of a group silence each other; "" is in none.
        note: The drum note that its maker gave it, or None.
        peak: What its loudest sample is scaled to, or None for as loud as it is.
    """

    drum: str
    layers: tuple[Layer, ...]
    gains: tuple[float, float] = (1.0, 1.0)
    group: str = ""
    note: int | None = None
    peak: float | None = None


@dataclass(frozen=True)
class BassSound:
    """A bass one-shot and its pitch as a MIDI note."""

    path: Path
    note: int


@dataclass(frozen=True)
class Kit:
    """A drum kit.

    Attributes:
        path: Folder or SoundFont.
        kind: `HYDROGEN`, `ONE_SHOTS` or `SOUNDFONT`.
        sha256: Over names and content of all files that it is made of.
        instruments: Its sounds; a SoundFont keeps them to itself.
        basses: Bass one-shots beside them.
    """

    path: Path
    kind: str
    sha256: str
    instruments: tuple[Instrument, ...] = ()
    basses: tuple[BassSound, ...] = ()

    @property
    def name(self) -> str:
        """What it is called: as its folder or file."""
        return self.path.resolve().name


def read_kit(path: Path) -> Kit:
    """Read a kit.

    Args:
        path: A folder with a `drumkit.xml`, a folder of one-shots, or a .sf2 or .sf3 file.

    Raises:
        DatasetError: It is none of these, is damaged, or has no kick, snare or hi-hat.
        AudioError: A sample cannot be read.
    """
    if path.is_file():
        check_soundfont(path)
        return Kit(path, SOUNDFONT, _digest([path], path.parent))
    if not path.is_dir():
        raise DatasetError(f"kit '{path}' does not exist: give a folder with drumkit.xml or of one-shots, or a .sf2")
    table = path / "drumkit.xml"
    try:
        instruments, basses = (_hydrogen(table), ()) if table.is_file() else _one_shots(path)
    except OSError as error:
        raise DatasetError(
            f"kit '{path}' cannot be read ({error.strerror}): make it readable or leave it out"
        ) from error
    found = {family(instrument.drum) for instrument in instruments}
    missing = [drum for drum in REQUIRED if drum.replace("hi-", "") not in found]
    if missing:
        raise DatasetError(
            f"kit '{path}' has no {' and no '.join(missing)}: expected a drumkit.xml whose instruments, or samples "
            f"whose names, say kick (bd_), snare (sn_) and hi-hat (hat_); rename them or leave out the kit"
        )
    files = {layer.path for instrument in instruments for layer in instrument.layers}
    files |= {bass.path for bass in basses} | ({table} if table.is_file() else set())
    kind = HYDROGEN if table.is_file() else ONE_SHOTS
    return Kit(path, kind, _digest(sorted(files), path), tuple(instruments), tuple(basses))


def assign(kit: Kit, rng: np.random.Generator, spread_db: float = 0.0) -> dict[int, Instrument]:
    """Draw which sound is struck for each drum note; notes without any are absent.

    Where a kit has several sounds of a class and says not which note is whose, two notes of that class (two bass drums)
    get two of them; of a folder of one-shots all notes of a class get the same, hand drums and percussion aside.

    Args:
        kit: The kit.
        rng: Of the choice.
        spread_db: Most change of level of each class of one-shots, up or down.
    """
    by_class: dict[str, list[Instrument]] = {}
    for drum in sorted({instrument.drum for instrument in kit.instruments}):
        sounds = [instrument for instrument in kit.instruments if instrument.drum == drum]
        by_class[drum] = [sounds[index] for index in rng.permutation(len(sounds))]
    struck: dict[int, Instrument] = {}
    used: dict[str, int] = {}
    for note, drum in OF_NOTE.items():
        own = [one for one in kit.instruments if one.note == note and family(one.drum) == family(drum)]
        played = next((other for other in (drum, *STAND_INS.get(drum, ())) if other in by_class), None)
        if own:
            struck[note] = own[0]
        elif played is not None:
            varied = kit.kind == HYDROGEN or played in ("hand", "perc")
            struck[note] = by_class[played][used.get(played, 0) * varied % len(by_class[played])]
            used[played] = used.get(played, 0) + 1
    factors = {drum: 10 ** (spread_db * float(rng.uniform(-1, 1)) / 20) for drum in by_class}
    return {
        note: one if one.peak is None else replace(one, peak=round(one.peak * factors[one.drum], 4))
        for note, one in struck.items()
    }


def files_of(struck: Mapping[int, Instrument]) -> dict[str, list[str]]:
    """List the files behind each class, for the record."""
    names: dict[str, list[str]] = {}
    for instrument in sorted(struck.values(), key=lambda one: one.drum):
        known = names.setdefault(instrument.drum, [])
        known += [layer.path.name for layer in instrument.layers if layer.path.name not in known]
    return names


def _hydrogen(table: Path) -> list[Instrument]:
    text = table.read_bytes()
    if re.search(rb"<!(DOCTYPE|ENTITY)", text):
        raise DatasetError(f"'{table}' defines entities: expected a plain Hydrogen kit; remove its DOCTYPE")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f"'{table}' cannot be read as XML ({error}): replace it or leave out the kit") from error
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]  # newer kits have a namespace
    entries = [(index, one, _layers(one, table.parent)) for index, one in enumerate(root.iter("instrument"))]
    entries = [entry for entry in entries if entry[2]]
    notes = [_note(one) for _, one, _ in entries]
    told = len(set(notes) - {None, _UNSET_NOTE}) > 1
    named = [class_of(one.findtext("name") or "") for _, one, _ in entries]
    found = []
    for (index, one, layers), note, drum in zip(entries, notes, named, strict=True):
        own = note if told else None if any(named) else _FIRST_NOTE + index
        # Names are more often right than notes: makers put a second snare on a tom's.
        drum = (drum if drum != "hat" else "hat_closed") or OF_NOTE.get(-1 if own is None else own, "")
        if drum:
            pans = _pans(one)
            gain = _number(one, "volume", 1.0) * _number(one, "gain", 1.0)
            group = (one.findtext("muteGroup") or "").strip()
            group = "hat" if drum in HATS else "" if group in ("", "-1") else f"group {group}"
            found.append(Instrument(drum, layers, (gain * pans[0], gain * pans[1]), group, own))
    return found


def _layers(instrument: ElementTree.Element, folder: Path) -> tuple[Layer, ...]:
    """The samples of an instrument that are there; old kits name one without a layer, and makers forget some."""
    offset = _number(instrument, "pitchOffset", 0.0)
    layers = []
    for element in [*instrument.iter("layer")] or [instrument]:
        path = folder / (element.findtext("filename") or "").strip()
        if path.suffix.lower() not in _SUFFIXES or path.parent != folder or not path.is_file():
            continue
        audio.probe(path)
        layer = Layer(path) if element is instrument else Layer(
            path,
            _number(element, "min", 0.0),
            _number(element, "max", 1.0),
            _number(element, "gain", 1.0),
            _number(element, "pitch", 0.0) + offset,
        )  # fmt: skip
        layers.append(layer)
    return tuple(sorted(layers, key=lambda layer: (layer.low, layer.high, layer.path.name)))


def _number(element: ElementTree.Element, name: str, default: float) -> float:
    text = (element.findtext(name) or "").strip()
    try:
        value = float(text) if text else default
    except ValueError as error:
        raise DatasetError(f"a drumkit.xml has <{name}> '{text}': expected a number") from error
    if not np.isfinite(value):
        raise DatasetError(f"a drumkit.xml has <{name}> '{text}': expected a finite number")
    return value


def _note(element: ElementTree.Element) -> int | None:
    return None if element.find("midiOutNote") is None else int(_number(element, "midiOutNote", _UNSET_NOTE))


def _pans(element: ElementTree.Element) -> tuple[float, float]:
    if element.find("pan_L") is not None:
        return _number(element, "pan_L", 1.0), _number(element, "pan_R", 1.0)
    return _balance(_number(element, "pan", 0.0))


def _balance(pan: float) -> tuple[float, float]:
    return min(1.0, 1.0 - pan), min(1.0, 1.0 + pan)


def _one_shots(folder: Path) -> tuple[list[Instrument], tuple[BassSound, ...]]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.name[0] != ".")
    basses, drums = [], {}
    for path in files:
        if re.match(r"(?i)bass[_ -]", path.stem):
            basses.append(_bass(path))
        elif drum := class_of(path.stem):
            audio.probe(path)
            drums[path] = drum
    found = []
    stems = {path.stem: path for path in drums}
    for path, drum in drums.items():
        soft = stems.get(re.sub("_hard$", "_soft", path.stem))
        if path.stem.endswith("_soft") and re.sub("_soft$", "_hard", path.stem) in stems:
            continue  # it is a layer of that
        layers = (Layer(path),) if soft in (None, path) else (Layer(soft, 0.0, _SOFT), Layer(path, _SOFT, 1.0))
        if drum == "hat":
            drum = "hat_open" if _ringing_s(path) > _OPEN_S else "hat_closed"
        gains = _balance(_PANS.get(drum, _PANS.get(family(drum), 0.0)))
        peak = _PEAKS.get(drum, _PEAKS.get(family(drum), _PEAK))
        found.append(Instrument(drum, layers, gains, "hat" if drum in HATS else "", None, peak))
    return found, tuple(bass for bass in basses if bass is not None)


def _bass(path: Path) -> BassSound | None:
    """A bass one-shot that sounds as it is called; others glide, or are mistaken."""
    named = note_of_name(path.stem)
    waveform, rate = audio.read(path)
    note = note_of(waveform.mean(0), rate, named) if named is not None else None
    return None if note is None else BassSound(path, note)


def _ringing_s(path: Path) -> float:
    """How long a sound stays within 30 dB of its peak."""
    waveform, rate = audio.read(path)
    loud = np.abs(waveform).max(0)
    above = np.flatnonzero(loud > loud.max(initial=0.0) * 10 ** (_RUNG_DOWN_DB / 20))
    return float(above[-1]) / rate if above.size else 0.0


def _digest(files: Iterable[Path], folder: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder)}\0{content}\n".encode())
    return digest.hexdigest()
