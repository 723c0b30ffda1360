"""What drum sounds are called: classes of them, General MIDI's notes, names of samples, and what stands in for what."""

from __future__ import annotations

import re

HATS = ("hat_closed", "hat_pedal", "hat_open")
REQUIRED = ("kick", "snare", "hi-hat")

OF_NOTE = {
    31: "rim", 33: "rim", 35: "kick", 36: "kick", 37: "rim", 38: "snare", 39: "clap", 40: "snare", 41: "tom_floor",
    42: "hat_closed", 43: "tom_floor", 44: "hat_pedal", 45: "tom_low", 46: "hat_open", 47: "tom_mid", 48: "tom_mid",
    49: "crash", 50: "tom_high", 51: "ride", 52: "china", 53: "ride_bell", 54: "tambourine", 55: "splash",
    56: "cowbell", 57: "crash", 58: "perc", 59: "ride", 60: "hand", 61: "hand", 62: "hand", 63: "hand", 64: "hand",
    65: "hand", 66: "hand", 67: "agogo", 68: "agogo", 69: "shaker", 70: "shaker", 71: "perc", 72: "perc", 73: "perc",
    74: "perc", 75: "wood", 76: "wood", 77: "wood", 78: "perc", 79: "perc", 80: "triangle", 81: "triangle",
    82: "shaker", 83: "triangle", 84: "triangle", 85: "wood", 86: "tom_floor", 87: "tom_floor",
}  # fmt: skip
"""Class of each drum note of General MIDI, with the few of GS around them; notes that are absent have no class."""

STAND_INS: dict[str, tuple[str, ...]] = {
    "snare": ("clap",),
    "rim": ("wood", "snare"),
    "clap": ("snare",),
    "hat_closed": ("hat_pedal", "hat_open"),
    "hat_pedal": ("hat_closed", "hat_open"),
    "hat_open": ("hat_closed", "hat_pedal"),
    "tom_floor": ("tom_low", "tom_mid", "tom_high", "hand"),
    "tom_low": ("tom_floor", "tom_mid", "tom_high", "hand"),
    "tom_mid": ("tom_high", "tom_low", "tom_floor", "hand"),
    "tom_high": ("tom_mid", "tom_low", "tom_floor", "hand"),
    "crash": ("china", "splash", "ride", "hat_open"),
    "china": ("crash", "splash", "ride", "hat_open"),
    "splash": ("crash", "china", "ride", "hat_open"),
    "ride": ("crash", *HATS),
    "ride_bell": ("ride", "cowbell", "crash", *HATS),
    "tambourine": ("shaker", *HATS),
    "shaker": ("tambourine", *HATS),
    "cowbell": ("agogo", "ride_bell", "wood"),
    "agogo": ("cowbell", "wood"),
    "hand": ("tom_high", "tom_mid", "tom_low"),
    "wood": ("rim", "cowbell"),
}
"""What is struck where a kit lacks a class, nearest first; a class that is not named here is left out then."""

AVL = {
    "kick": 36, "rim": 37, "snare": 38, "clap": 39, "tom_floor": 41, "hat_closed": 42, "hat_pedal": 44, "tom_low": 45,
    "hat_open": 46, "tom_mid": 47, "crash": 49, "ride": 51, "ride_bell": 53, "tambourine": 54, "splash": 55,
    "cowbell": 56, "shaker": 61,
}  # fmt: skip
"""Notes of the AVL Drumkits (Black Pearl and Red Zeppelin), which are General MIDI's only in part."""

_AVL_AS_GENERAL_MIDI = (*range(36, 43), 44, 45, 46, 47, 49, 51, 53, 54, 55, 56, 57, 59)

# The first that fits counts: "hat snap" is a hi-hat, a "snare rimshot" a snare, a "cowbell" no bell.
_PATTERNS = [
    # Held or stopped, they are no strokes.
    ("", r"\b(choke|roll|loop|empty sample)"),
    ("hat", r"\bhi ?hat|\bhat|\b[cop]?hh\b|\bcymbal (closed|pedal|open)\b"),
    ("kick", r"\bkick|\bkik\b|\bbass ?drum|\bdrum bass\b|\bbd\b"),
    ("snare", r"\bsnare|\bsn\b|\bsd\b"),
    ("clap", r"\bclap|\bsnap|\bfinger"),
    ("rim", r"\brim|\bside ?stick|\bstick|\bclick\b|\btick\b"),
    ("tom_floor", r"\bfloor ?tom|\btom ?floor|\btom 4"),
    ("tom_high", r"\bhi(gh)? ?tom|\btom ?hi|\btom 1"),
    ("tom_low", r"\blow? ?tom|\btom ?lo|\btom 3"),
    ("tom_mid", r"\btom"),
    ("cowbell", r"\bcow ?bell"),
    ("agogo", r"\bagogo"),
    ("tambourine", r"\btamb"),
    ("shaker", r"\bshaker|\bmaraca|\bcabasa"),
    ("hand", r"\bconga|\bbongo?|\btabla|\bdjembe|\bcajon|\btimbale|\bdarbuka|\bhand drum"),
    ("wood", r"\bclave|\bwood"),
    ("triangle", r"\btriangle"),
    ("perc", r"\bperc|\bguiro|\bwhistle|\bvibra ?slap|\bcuica"),
    ("ride_bell", r"\bbell|\bcup\b"),
    ("ride", r"\bbow\b"),
    ("china", r"\bchina"),
    ("splash", r"\bsplash"),
    ("crash", r"\bcrash.*ride"),
    ("ride", r"\bride"),
    ("crash", r"\bcrash|\bcymbal"),
]


def class_of(name: str) -> str:
    """Return the class of a sound by its name, "hat" where it does not say how open, and "" where it says nothing.

    >>> [class_of(name) for name in ("BassDrum", "c#3 - stick", "Hat 1 Op", "tomhi2", "elec_hi_snare", "Zap 1")]
    ['kick', 'rim', 'hat_open', 'tom_high', 'snare', '']
    """
    spaced = re.sub(r"\(.*?\)", " ", name)
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", spaced)  # BassDrum, tomhi2
    plain = " ".join(re.findall(r"[a-z0-9]+", spaced.lower()))
    found = next((drum for drum, pattern in _PATTERNS if re.search(pattern, plain)), "")
    if found != "hat":
        return found
    if re.search(r"\bpedal|\bfoot|\bpd\b|\bphh\b", plain):
        return "hat_pedal"
    if re.search(r"open|\bop\b|\bohh\b|\bfree\b|\bswish", plain):
        return "hat_open"
    return "hat_closed" if re.search(r"\bclosed?|\bcl\b|\bchh\b", plain) else "hat"


def family(drum: str) -> str:
    """Name what classes have in common.

    >>> family("tom_floor"), family("snare")
    ('tom', 'snare')
    """
    return drum.split("_")[0]


def avl_note(note: int) -> int | None:
    """Return the note of the AVL Drumkits for one of General MIDI, or None where they have nothing like it.

    >>> avl_note(38), avl_note(35), avl_note(50), avl_note(71)
    (38, 36, 47, None)
    """
    if note in _AVL_AS_GENERAL_MIDI:
        return note
    drum = OF_NOTE.get(note, "")
    return next((AVL[other] for other in (drum, *STAND_INS.get(drum, ())) if other in AVL), None)
