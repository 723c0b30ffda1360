"""What a model does with songs that are no songs: one stem alone, speech, silence, noise, mono, 8 kHz, clipped masters.

    python -m benchmarks.bad_songs --model default --data DATA          # DATA with stems/valid and pairs/valid
    python -m benchmarks.bad_songs --model default --model clean --json

Of each input it says how loud each stem comes out against the input, in dB, and its mean presence score. Where the
input holds one stem, what is in the others is leakage. "Blown up" is a stem with more than twice the peak of its input
or more energy than it. The last column is the error of the sum of the stems against the input.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sepgan.audio import Waveform, read, resample
from sepgan.separation.api import Separator
from sepgan.separation.meters import PresenceMeter

RATE = 44100
LENGTH_S = 20.0
FLOOR_DB = -120.0
MOST_ENERGY_DB = 0.5
MOST_PEAK = 2.0


@dataclass(frozen=True)
class Case:
    """An input: `[C, T]`, and which single stem it is, if it is one."""

    name: str
    waveform: Waveform
    sample_rate: int
    alone: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out, by stem."""

    name: str
    level_db: dict[str, float]  # against the input
    presence: dict[str, float]  # mean over the seconds with sound
    peak: dict[str, float]  # against the input's
    null_db: float
    alone: str | None = None

    @property
    def blown_up(self) -> bool:
        """Whether a stem is more than its input."""
        return max(self.level_db.values()) > MOST_ENERGY_DB or max(self.peak.values()) > MOST_PEAK


def made_up() -> Iterator[Case]:
    """Inputs that need no data: silence, noises, a tone, clicks."""
    random = np.random.default_rng(0)
    samples = round(6 * RATE)
    white = random.standard_normal((2, samples)).astype(np.float32)
    spectrum = np.fft.rfft(white) / np.sqrt(np.maximum(np.arange(samples // 2 + 1), 1))
    pink = np.fft.irfft(spectrum, samples).astype(np.float32)
    time_s = np.arange(samples) / RATE
    clicks = np.zeros((2, samples), np.float32)
    clicks[:, :: RATE // 2] = 0.9
    yield Case("silence", np.zeros((2, samples), np.float32), RATE)
    yield Case("white noise", 0.1 * white, RATE)
    yield Case("pink noise", 0.1 * pink / pink.std(), RATE)
    yield Case("tone of 1 kHz", np.tile(0.5 * np.sin(2000 * np.pi * time_s), (2, 1)).astype(np.float32), RATE)
    yield Case("clicks", clicks, RATE)
    yield Case("faint noise, -100 dBFS", 1e-5 * white, RATE)
    yield Case("a constant", np.full((2, samples), 0.5, np.float32), RATE)


def spoilt(name: str, mixture: Waveform) -> Iterator[Case]:
    """A song in mono, at 8 kHz, as a clipped master, upside down in one channel, and almost inaudible."""
    mono = mixture.mean(0, keepdims=True)
    yield Case(f"{name}, mono", mono, RATE)
    yield Case(f"{name}, mono at 8 kHz", resample(mono, RATE, 8000), 8000)
    yield Case(f"{name}, clipped by 12 dB", np.clip(4 * mixture / np.abs(mixture).max(), -1, 1), RATE)
    yield Case(f"{name}, channels opposed", np.concatenate((mono, -mono)), RATE)
    yield Case(f"{name}, at -60 dB", 1e-3 * mixture, RATE)


def real(data: Path, length_s: float = LENGTH_S) -> Iterator[Case]:
    """Held-out stems alone, karaoke singing alone, and spoilt mixtures."""
    for song in sorted((data / "stems/valid").iterdir()):
        stems = {file.stem: _excerpt(file, length_s) for file in sorted(song.iterdir())}
        whole = "bass" in stems  # elsewhere the bass line lies inside `other`
        for stem, waveform in stems.items():
            if (whole or stem != "other") and np.abs(waveform).max() > 0.003:
                yield Case(f"{stem} alone: {song.name}", waveform, RATE, stem)
    yield from spoilt(song.name, np.sum(list(stems.values()), axis=0))
    voices = sorted((data / "pairs/valid").iterdir())
    for clip in voices[:: max(1, len(voices) // 8)][:8]:
        yield Case(f"vocals alone: MIR-1K {clip.name}", _excerpt(next(clip.glob("vocals.*")), length_s), RATE, "vocals")


def measure(separator: Separator, case: Case) -> Outcome:
    """Separate one input and look at what comes out."""
    stems = separator.separate(case.waveform, case.sample_rate)
    energy = float(np.square(case.waveform, dtype=np.float64).sum())
    peak = float(np.abs(case.waveform).max())
    meter = PresenceMeter(len(stems), case.sample_rate, len(case.waveform))
    meter.push(case.waveform, np.stack(list(stems.values())))
    scores = meter.scores()
    sounding = scores.max(0) > 0
    error = np.square(sum(stems.values()) - case.waveform, dtype=np.float64).sum()
    return Outcome(
        case.name,
        {name: _db(float(np.square(stem, dtype=np.float64).sum()), energy) for name, stem in stems.items()},
        dict(zip(stems, scores[:, sounding].mean(1).tolist() if sounding.any() else [0.0] * len(stems), strict=True)),
        {name: float(np.abs(stem).max()) / max(peak, 1e-9) for name, stem in stems.items()},
        _db(float(error), energy),
        case.alone,
    )


def table(model: str, outcomes: list[Outcome]) -> list[str]:
    """Lines of Markdown."""
    stems = list(outcomes[0].level_db)
    lines = [f"| `{model}` | {' | '.join(stems)} | presence | blown up | sum |", "| ---" * (len(stems) + 4) + " |"]
    for outcome in outcomes:
        levels = " | ".join(f"{outcome.level_db[stem]:.0f}" for stem in stems)
        presence = " ".join(f"{outcome.presence[stem]:.2f}" for stem in stems)
        blown_up = "YES" if outcome.blown_up else "no"
        lines.append(f"| {outcome.name} | {levels} | {presence} | {blown_up} | {outcome.null_db:.0f} |")
    return lines


def summary(outcomes: list[Outcome]) -> list[str]:
    """Leakage by stem that is alone: median and worst over the inputs, and by which stem leaks."""
    lines = []
    for alone in dict.fromkeys(outcome.alone for outcome in outcomes if outcome.alone):
        chosen = [outcome for outcome in outcomes if outcome.alone == alone]
        parts = []
        for stem in chosen[0].level_db:
            levels = sorted(outcome.level_db[stem] for outcome in chosen)
            parts.append(f"{stem} {np.median(levels):.0f} ({levels[-1]:.0f})")
        lines.append(f"{alone} alone, {len(chosen)} inputs: median (worst) level in dB: {', '.join(parts)}")
    return lines


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="several times; default: the bundled one")
    parser.add_argument("--data", type=Path, help="folder with stems/valid and pairs/valid")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    cases = [*made_up(), *(real(options.data) if options.data else ())]
    for model in options.model or ["default"]:
        separator = Separator.load(model)
        outcomes = [measure(separator, case) for case in cases]
        if options.as_json:
            print(json.dumps({"model": model, "outcomes": [asdict(outcome) for outcome in outcomes]}))
        else:
            print("\n".join([*table(model, outcomes), "", *summary(outcomes)]))


def _excerpt(file: Path, length_s: float) -> Waveform:
    """Where a file plays most."""
    waveform, _ = read(file, sample_rate=RATE)
    length = round(length_s * RATE)
    total = np.concatenate(([0.0], np.cumsum(np.square(waveform, dtype=np.float64).sum(0))))
    start = int((total[length:] - total[:-length]).argmax()) if len(total) > length else 0
    piece: Waveform = waveform[:, start : start + length]
    return piece


def _db(energy: float, against: float) -> float:
    if energy <= against * 10 ** (FLOOR_DB / 10):
        return FLOOR_DB
    return 10 * float(np.log10(energy / max(against, 1e-30)))


if __name__ == "__main__":
    main()
