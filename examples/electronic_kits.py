"""Kits of a drum machine and a bass synthesiser, computed from nothing: sounds that allow any use.

    python examples/electronic_kits.py --out SYNTHETIC --kits 12
    sepgan data render MIDI --soundfont FluidR3_GM.sf2 --kit SYNTHETIC/01 --kit SYNTHETIC/02 ... --out RENDERED/train

SoundFonts and recorded kits have few electronic sounds, and hardly a bass whose lowest partial is its loudest: a
separator that never heard one takes it for a kick drum. Each kit is a folder of one-shots as `sepgan data render --kit`
reads them: kicks are falling sines, snares and claps filtered noise, hats six squares that are out of tune (as in the
TR-808), and basses partials under a closing filter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

RATE = 44100
PEAK = 0.9
OF_A_KIND = 3  # drums of each class in a kit; a song draws one
BASSES = 6
SQUARES_HZ = (205.3, 304.4, 369.6, 522.7, 540.0, 800.0)  # of the TR-808's cymbals
PARTIALS = 48
NOTES = ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")

Sound = NDArray[np.float64]
Draw = np.random.Generator


def _time(seconds: float) -> Sound:
    return np.arange(round(seconds * RATE)) / RATE


def _fall(t: Sound, seconds: float) -> Sound:
    """By 60 dB in so many seconds."""
    return np.asarray(np.exp(-6.9 * t / seconds))


def _noise(draw: Draw, t: Sound, kind: str, cut_hz: float | tuple[float, float]) -> Sound:
    return np.asarray(sosfilt(butter(2, cut_hz, kind, fs=RATE, output="sos"), draw.standard_normal(len(t))))


def _falling_sine(t: Sound, from_hz: float, to_hz: float, sweep_s: float) -> Sound:
    return np.asarray(np.sin(2 * np.pi * np.cumsum(to_hz + (from_hz - to_hz) * np.exp(-t / sweep_s)) / RATE))


def _driven(sound: Sound, drive: float) -> Sound:
    return np.asarray(np.tanh(drive * sound / np.abs(sound).max()))


def kick(draw: Draw) -> Sound:
    """A sine that falls to 38 to 65 Hz, with a click."""
    seconds = draw.uniform(0.15, 1.2)
    t = _time(seconds)
    body = _falling_sine(t, draw.uniform(110, 600), draw.uniform(38, 65), draw.uniform(0.006, 0.05))
    held = draw.uniform(0.0, 0.3) * seconds  # as long as its envelope waits
    body *= _fall(np.maximum(t - held, 0.0), seconds - held)
    click = draw.uniform(0.0, 0.5) * _noise(draw, t, "lowpass", draw.uniform(2000, 9000)) * _fall(t, 0.02)
    return _driven(body, draw.uniform(0.5, 4.0)) + click


def snare(draw: Draw) -> Sound:
    """Two sines under noise."""
    t = _time(0.5)
    low = draw.uniform(150, 260)
    tone = sum(_falling_sine(t, 1.3 * hz, hz, 0.01) for hz in (low, low * draw.uniform(1.45, 1.8)))
    rattle = _noise(draw, t, "highpass", draw.uniform(600, 3500)) * _fall(t, draw.uniform(0.12, 0.5))
    return _driven(draw.uniform(0.2, 1.0) * tone * _fall(t, draw.uniform(0.08, 0.3)) + rattle, draw.uniform(0.5, 3.0))


def clap(draw: Draw) -> Sound:
    """Bursts of noise, the last of which rings."""
    t = _time(0.4)
    apart_s, bursts = draw.uniform(0.007, 0.014), int(draw.integers(2, 5))
    envelope = np.zeros_like(t)
    for burst in range(bursts):
        since = t - burst * apart_s
        seconds = draw.uniform(0.12, 0.35) if burst == bursts - 1 else 0.02
        envelope = np.maximum(envelope, (since >= 0) * _fall(np.maximum(since, 0.0), seconds))
    middle_hz = draw.uniform(900, 2200)
    return _noise(draw, t, "bandpass", (0.6 * middle_hz, 1.8 * middle_hz)) * envelope


def rim(draw: Draw) -> Sound:
    """A short high tone."""
    t = _time(0.1)
    return _falling_sine(t, draw.uniform(700, 2500), draw.uniform(400, 1700), 0.004) * _fall(t, draw.uniform(0.03, 0.1))


def tom(draw: Draw, hz: float) -> Sound:
    """A sine that falls less than a kick's."""
    t = _time(draw.uniform(0.25, 0.7))
    hz *= draw.uniform(0.85, 1.15)
    return _falling_sine(t, draw.uniform(1.2, 2.2) * hz, hz, draw.uniform(0.02, 0.08)) * _fall(t, t[-1])


def metal(draw: Draw, shortest_s: float, longest_s: float, above_hz: float) -> Sound:
    """Squares out of tune and noise, without what is low."""
    seconds = draw.uniform(shortest_s, longest_s)
    t = _time(seconds)
    factor = draw.uniform(0.8, 2.0)
    squares = sum(np.sign(np.sin(2 * np.pi * factor * hz * t + draw.uniform(0, 6))) for hz in SQUARES_HZ)
    mixed = draw.uniform(0.0, 0.5) * squares + draw.uniform(0.3, 1.5) * draw.standard_normal(len(t))
    cut_hz = above_hz * draw.uniform(0.7, 1.3)
    return np.asarray(sosfilt(butter(3, cut_hz, "highpass", fs=RATE, output="sos"), mixed)) * _fall(t, seconds)


def cowbell(draw: Draw) -> Sound:
    """Two squares a fifth and a little apart."""
    t = _time(draw.uniform(0.1, 0.5))
    factor = draw.uniform(0.8, 1.3)
    squares = sum(np.sign(np.sin(2 * np.pi * factor * hz * t)) for hz in SQUARES_HZ[-2:])
    return np.asarray(sosfilt(butter(1, (500, 4000), "bandpass", fs=RATE, output="sos"), squares)) * _fall(t, t[-1])


DRUMS: dict[str, Callable[[Draw], Sound]] = {
    "kick": kick,
    "snare": snare,
    "clap": clap,
    "rim": rim,
    "tom_floor": lambda draw: tom(draw, 75),
    "tom_lo": lambda draw: tom(draw, 95),
    "tom_mid": lambda draw: tom(draw, 130),
    "tom_hi": lambda draw: tom(draw, 180),
    "hat_closed": lambda draw: metal(draw, 0.04, 0.15, 6500),
    "hat_pedal": lambda draw: metal(draw, 0.05, 0.18, 6000),
    "hat_open": lambda draw: metal(draw, 0.35, 0.9, 6000),
    "crash": lambda draw: metal(draw, 1.0, 2.5, 4000),
    "ride": lambda draw: metal(draw, 0.6, 1.5, 5000),
    "shaker": lambda draw: metal(draw, 0.05, 0.15, 5000),
    "cowbell": cowbell,
}


def bass(draw: Draw, hz: float) -> Sound:
    """Partials of one or two oscillators, and often an octave below, under a low-pass that closes; some are driven."""
    held = draw.random() < 0.5
    seconds = 4.0 if held else draw.uniform(0.3, 2.0)
    t = _time(seconds)
    fall = draw.uniform(0.9, 2.5)  # of the partials: 1 saw or square, 2 triangle
    odd = draw.random() < 0.4
    open_hz, shut_hz = hz * draw.uniform(2, 20), hz * draw.uniform(0.8, 6)
    cut_hz = shut_hz + open_hz * _fall(t, draw.uniform(0.1, 1.5))
    resonance = draw.uniform(0.0, 1.5)
    sound = np.zeros_like(t)
    tunings = [1.0] if draw.random() < 0.5 else [1.0, 2 ** (draw.uniform(0.02, 0.12) / 12)]
    for tuning in tunings:
        for partial in range(1, PARTIALS, 2 if odd else 1):
            ratio = partial * tuning * hz / cut_hz
            passed = (1 + resonance * np.exp(-16 * (ratio - 1) ** 2)) / (1 + ratio**4)
            phase = draw.uniform(0, 2 * np.pi) if partial > 1 else 0.0
            sound += passed * partial**-fall * np.sin(2 * np.pi * partial * tuning * hz * t + phase)
    if hz > 55 and draw.random() < 0.5:
        sound += draw.uniform(0.3, 1.5) * np.sin(np.pi * hz * t)
    attack = np.minimum(1.0, t / draw.uniform(0.001, 0.02))
    sound *= attack * (draw.uniform(0.4, 1.0) + _fall(t, 0.5) if held else _fall(t, seconds))
    return _driven(sound, draw.uniform(0.5, 5.0)) if draw.random() < 0.6 else sound


def make_kit(folder: Path, seed: int) -> None:
    """Fill a folder with one-shots: the same from the same seed."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in DRUMS.items():
        for number in range(1, OF_A_KIND + 1):
            _write(folder / f"{name}_{number}.flac", make(draw))
    for number in range(1, BASSES + 1):
        note = int(draw.integers(28, 41))
        _write(folder / f"bass_{number}_{NOTES[note % 12]}.flac", bass(draw, 440 * 2 ** ((note - 69) / 12)))


def _write(path: Path, sound: Sound) -> None:
    fade = min(len(sound), RATE // 200)
    sound[len(sound) - fade :] *= np.linspace(1, 0, fade)
    soundfile.write(path, PEAK * sound / np.abs(sound).max(), RATE, subtype="PCM_16")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kits", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for number in range(1, options.kits + 1):
        make_kit(options.out / f"{number:02}", options.seed + number)
    print(f"{options.kits} kits in {options.out}")


if __name__ == "__main__":
    main()
