"""Bass lines of electronic music, computed from nothing: recordings that allow any use.

    python examples/electronic_basses.py --out BASSES --lines 160

One-shots (`electronic_kits.py`) keep their pitch. In much electronic music the bass is held for bars, glides from note
to note or falls into one as a kick does, and its filter opens and closes with the beat: a separator that never heard
that takes it for drums. Each `OUT/train/<number>.flac` repeats a few bars in a minor key with one sound.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from sepgan.data.credits import write_credits

RATE = 44100
SECONDS = 30.0
PEAK = 0.5
PARTIALS = 40
HIGHEST_HZ = 9000.0
SCALE = (0, 3, 5, 7, 10, 12)  # semitones above the key
STEPS = 16  # of a bar
CONTROL = 64  # samples between values of what moves slowly

Sound = NDArray[np.float64]
Draw = np.random.Generator


@dataclass(frozen=True)
class Note:
    """A note of a line: steps from its beginning, steps that it is held, its pitch and how far above it begins."""

    step: int
    held: int
    midi: float
    bend: float


def riff(draw: Draw, bars: int) -> list[Note]:
    """Notes of some bars: held ones, eighths between the beats, running sixteenths, or syncopated."""
    key = float(draw.integers(26, 41))
    style = draw.choice(["held", "between", "running", "syncopated"], p=[0.3, 0.15, 0.2, 0.35])
    if style == "held":
        starts = [bar * STEPS + at for bar in range(bars) for at in ([0] if draw.random() < 0.6 else [0, 8])]
    elif style == "between":
        starts = list(range(2, bars * STEPS, 4))
    elif style == "running":
        starts = [step for step in range(0, bars * STEPS, int(draw.choice([1, 2]))) if draw.random() < 0.85]
    else:
        starts = [step for step in range(bars * STEPS) if draw.random() < (0.5 if step % 4 == 0 else 0.2)]
    starts = starts or [0]
    bends = draw.choice([0.0, 0.25, 0.6])  # of the notes
    notes = []
    for start, after in zip(starts, [*starts[1:], bars * STEPS], strict=True):
        held = after - start if style == "held" or draw.random() < 0.5 else int(draw.integers(1, after - start + 1))
        pitch = key if draw.random() < 0.55 else key + float(draw.choice(SCALE))
        bend = float(draw.choice([-12, -7, -5, 5, 7, 12])) if draw.random() < bends else 0.0
        notes.append(Note(start, held, pitch, bend))
    return notes


def _curves(draw: Draw, tempo: float, samples: int) -> tuple[Sound, Sound, Sound]:
    """Pitch in Hz, level, and openness of the filter from 0 to 1, a value each `CONTROL` samples."""
    count = samples // CONTROL + 2
    pitch, level, since = np.zeros(count), np.zeros(count), np.zeros(count)
    step = 60 / tempo / 4 * RATE / CONTROL
    bars = int(draw.choice([1, 2, 4]))
    notes = riff(draw, bars)
    glide_s, bend_s = draw.choice([0.0, 0.03, 0.1]), draw.uniform(0.05, 0.25)
    length = draw.choice([1.0, 0.9, 0.5])
    seconds = np.arange(count) * CONTROL / RATE
    pitch[:] = notes[0].midi
    for begin in np.arange(0.0, count, bars * STEPS * step):
        for note in notes:
            first, last = (round(begin + at * step) for at in (note.step, note.step + length * note.held))
            if first >= count:
                break
            passed = seconds[: count - first]
            before = pitch[first - 1] if first else note.midi
            slide = (before - note.midi) * np.exp(-passed / glide_s) if glide_s else 0.0
            pitch[first:] = note.midi + slide + note.bend * np.exp(-passed / bend_s)
            level[first:last], since[first:] = 1.0, passed
    fall_s = draw.choice([0.2, 0.6, 2.0, 30.0])
    level *= np.exp(-since / fall_s)
    opened = np.exp(-since / draw.uniform(0.05, 0.6))
    if draw.random() < 0.4:  # a filter that beats
        per_beat = draw.choice([0.5, 1, 1.5, 2, 3, 4])
        opened = 0.5 - 0.5 * np.cos(2 * np.pi * (seconds * tempo / 60 * per_beat + draw.random()))
    if draw.random() < 0.3:  # gives way to a kick on each beat, as compressors are told to
        beat = (seconds * tempo / 60) % 1.0 * 60 / tempo
        level *= 1.0 - draw.uniform(0.5, 1.0) * np.exp(-beat / draw.uniform(0.05, 0.2))
    width = max(1, round(draw.uniform(0.001, 0.012) * RATE / CONTROL))  # of edges
    level = uniform_filter1d(level, width, mode="nearest", origin=(width - 1) // 2)
    return 440 * 2 ** ((pitch - 69) / 12), level, opened


def line(seed: int) -> Sound:
    """A line of `SECONDS`, `[T, 2]`: the same from the same seed."""
    draw = np.random.default_rng(seed)
    samples = round(SECONDS * RATE)
    hz, level, opened = _curves(draw, draw.uniform(70, 175), samples)
    at = np.arange(samples) / CONTROL
    grid = np.arange(len(hz))
    turns = np.cumsum(np.interp(at, grid, hz)) / RATE
    growl = draw.uniform(0.5, 4.0) if draw.random() < 0.25 else 0.0  # frequency modulation
    turns_bent = turns + growl / (2 * np.pi) * np.interp(at, grid, opened) * np.sin(
        2 * np.pi * draw.choice([0.5, 1.0, 2.0]) * turns
    )
    fall, odd = draw.uniform(0.9, 2.5), draw.random() < 0.35
    shut, wide = draw.uniform(0.8, 4.0), draw.uniform(1.0, 25.0)  # times the pitch
    resonance = draw.uniform(0.0, 1.5)
    detuned = draw.uniform(0.001, 0.008) if draw.random() < 0.5 else 0.0
    cut = shut + wide * opened
    last = int(min(PARTIALS, 2.5 * cut.max() + 2, HIGHEST_HZ / np.median(hz)))
    sound = np.zeros((2, samples))
    for partial in range(1, last + 1, 2 if odd else 1):
        passed = (1 + resonance * np.exp(-4 * (partial / cut - 1) ** 2)) / (1 + (partial / cut) ** 4)
        passed = np.interp(at, grid, passed * (partial * hz < HIGHEST_HZ)) * partial**-fall
        phase = draw.uniform(0, 1) if partial > 1 else 0.0
        oscillators = [(1.0, 1.0, 1.0)]  # left, right, tuning: what is lowest stays in the middle
        if detuned and partial > 1:
            oscillators = [(1.4, 0.6, 1 + detuned), (0.6, 1.4, 1 - detuned)]
        for left, right, tuning in oscillators:
            tone = passed * np.sin(2 * np.pi * (partial * tuning * turns_bent + phase))
            sound += np.multiply.outer((left, right), tone)
    if np.median(hz) > 55 and draw.random() < 0.5:
        sound += draw.uniform(0.3, 1.2) * np.sin(np.pi * turns)
    if draw.random() < 0.5:
        sound = np.tanh(draw.uniform(0.5, 4.0) * sound / np.abs(sound).max())
    sound *= np.interp(at, grid, level)
    return np.asarray(PEAK * sound / np.abs(sound).max()).T


def _write(job: tuple[Path, int]) -> None:
    path, seed = job
    soundfile.write(path, line(seed), RATE, subtype="PCM_16")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compute, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    folder = options.out / "train"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder / f"{number:03}.flac", options.seed + number) for number in range(1, options.lines + 1)]
    with ProcessPoolExecutor(options.jobs) as pool:
        list(pool.map(_write, jobs))
    write_credits(options.out, [(path.stem, f"electronic_basses.py, seed {seed}", "CC0 1.0") for path, seed in jobs])
    print(f"{options.lines} bass lines in {folder}")


if __name__ == "__main__":
    main()
