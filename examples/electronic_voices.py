"""Cut voices up as producers of electronic music do: stuttered, transposed, reversed, doubled, in long wide rooms.

    python examples/electronic_voices.py DATA/vocals/train DATA/stems/train --out CHOPPED --licence "research only"

Karaoke and sight-singing are dry, mono and sung through. A separator that heard nothing else takes a syllable that is
repeated by a sampler, or held by its reverberation, for a synthesiser. Each song of `OUT/train/<number>.flac` is of one
recording; `OUT/licences.csv` names it. Files called `vocals`, and all in folders of solo recordings, are voices.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from sepgan import audio
from sepgan.data.credits import write_credits
from sepgan.data.track import AUDIO_SUFFIXES
from sepgan.errors import DatasetError

RATE = 44100
SONG_S = 30.0
TEMPO_BPM = (85.0, 150.0)
SHIFTS = (0, 0, 0, 0, -12, -5, -3, 3, 5, 7, 12)  # semitones
EDGE = RATE // 250  # samples of a fade at a cut
PEAK = 0.9

Sound = NDArray[np.float32]
Draw = np.random.Generator


def voices_in(folders: Sequence[Path]) -> list[Path]:
    """Recordings of solo voices below folders: `vocals` where a folder has several stems, else all.

    Raises:
        DatasetError: There is none.
    """
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    named = {path.parent for path in files if path.stem == "vocals"}
    found = [path for path in files if path.stem == "vocals" or path.parent not in named]
    if not found:
        raise DatasetError(f"no recording below {', '.join(map(str, folders))}: expected {', '.join(AUDIO_SUFFIXES)}")
    return found


def chop(voice: Sound, draw: Draw) -> Sound:
    """Slices of a voice `[T]` on a beat, each repeated, and phrases as they are in between: `[SONG_S * RATE]`."""
    step = round(RATE * 60 / draw.uniform(*TEMPO_BPM) / 4)  # a sixteenth
    out = np.zeros(round(SONG_S * RATE), np.float32)
    loud = np.flatnonzero(np.abs(voice) > 0.2 * np.abs(voice).max())
    at = 0
    while at < len(out):
        begin = max(0, int(draw.choice(loud)) - EDGE)
        if draw.random() < 0.25:  # sung through
            times, slice_, every = 1, voice[begin : begin + step * int(draw.integers(8, 33))], 0
        else:
            every = step * int(draw.choice([1, 1, 2, 2, 3, 4]))
            times = int(draw.integers(1, 7))
            factor = 2 ** (int(draw.choice(SHIFTS)) / 12)
            slice_ = voice[begin : begin + round(every * factor * draw.uniform(0.5, 1.0))]
            if factor != 1 and len(slice_) > EDGE:
                slice_ = soxr.resample(slice_, RATE * factor, RATE, quality="MQ")
            if draw.random() < 0.15:
                slice_ = slice_[::-1]
        slice_ = _edged(np.array(slice_))
        for number in range(times):
            heard = out[at + number * every :][: len(slice_)]
            heard += slice_[: len(heard)]
        at += max(times * every, len(slice_)) + step * int(draw.choice([0, 0, 2, 4, 8, 16]))
    return out


def place(voice: Sound, draw: Draw) -> Sound:
    """Doubles, echoes and a room around a voice `[T]`, in stereo: `[2, T]`."""
    wide = np.stack([voice, voice])
    if draw.random() < 0.6:  # two more of it, a little late and out of tune, one on each side
        level = draw.uniform(0.3, 1.0)
        for side in range(2):
            wide[side] += level * _late(_detuned(voice, draw.uniform(-20, 20)), round(RATE * draw.uniform(0.008, 0.03)))
    if draw.random() < 0.5:
        wide = _echoed(wide, round(RATE * draw.uniform(0.12, 0.5)), draw.uniform(0.2, 0.6))
    if draw.random() < 0.85:
        decay_s, level_db = draw.uniform(0.6, 5.0), draw.uniform(-14.0, 3.0)
        times = np.arange(round(decay_s * RATE)) / RATE
        tail = draw.standard_normal((2, len(times))) * 10 ** (-3 * times / decay_s)
        tail[:, 1:] += draw.uniform(0.3, 0.95) * tail[:, :-1]  # walls swallow what is high
        tail *= 10 ** (level_db / 20) / np.sqrt(np.square(tail).sum(1, keepdims=True))
        if draw.random() < 0.2:
            tail = tail[:, ::-1]  # it swells
        wide = wide + oaconvolve(wide, tail, axes=1)[:, : wide.shape[1]]
    return np.asarray(wide, np.float32)


def _edged(sound: Sound) -> Sound:
    edge = min(EDGE, len(sound) // 2)
    ramp = np.linspace(0, 1, edge, dtype=np.float32)
    sound[:edge] *= ramp
    sound[len(sound) - edge :] *= ramp[::-1]
    return sound


def _detuned(voice: Sound, cents: float) -> Sound:
    stretched = soxr.resample(voice, RATE * 2 ** (cents / 1200), RATE, quality="MQ")
    return np.asarray(np.pad(stretched, (0, max(0, len(voice) - len(stretched))))[: len(voice)])


def _late(voice: Sound, samples: int) -> Sound:
    return np.asarray(np.pad(voice, (samples, 0))[: len(voice)])


def _echoed(wide: Sound, samples: int, feedback: float) -> Sound:
    """Each echo on the other side."""
    out, echo = wide.copy(), wide
    for number in range(1, 7):
        echo = feedback * echo[::-1]
        out[:, number * samples :] += echo[:, : max(0, out.shape[1] - number * samples)]
    return np.asarray(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, cut up, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--licence", default="not stated")
    options = parser.parse_args(arguments)
    voices = voices_in(options.folders)
    order = np.random.default_rng(options.seed).permutation(len(voices))
    folder = options.out / "train"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(options.songs):
        path = voices[order[number % len(voices)]]
        draw = np.random.default_rng((options.seed, number))
        waveform, rate = audio.read(path)
        voice = soxr.resample(waveform.mean(0), rate, RATE)
        if not voice.any():
            continue
        song = place(chop(voice, draw), draw)
        name = f"{number:03}"
        soundfile.write(folder / f"{name}.flac", (PEAK / np.abs(song).max() * song).T, RATE, subtype="PCM_16")
        rows.append((name, f"{path.parent.name}/{path.name}", options.licence))
    write_credits(options.out, rows)
    print(f"{len(rows)} songs in {folder}")


if __name__ == "__main__":
    main()
