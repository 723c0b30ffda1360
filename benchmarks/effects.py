"""How well a stem is found when it sounds other than it was recorded: in a room, through an equaliser, distorted.

    python -m benchmarks.effects --data DATA --model default --model spleeter-2stems            # vocals
    python -m benchmarks.effects --data DATA --model default --stem drums --json

Of each held-out song (DATA/stems/valid and some of DATA/pairs/valid) the eight seconds in which the stem is loudest are
taken. The stem alone gets the effect, and then its old level; everything else stays. `kept` is the factor with which
the stem comes back (least squares: 1 is all of it, less than 1 means that it is taken for something else), beside it
its SDR in dB; both are means over songs. A model that knows dry voices alone keeps less of those in a room.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sepgan.audio import Waveform, read, resample
from sepgan.data.augment.augmenter import Augmenter
from sepgan.data.augment.drawing import Drawn
from sepgan.data.augment.filters import Band, Room
from sepgan.data.augment.warp import Warp
from sepgan.evaluation.metrics import global_sdr
from sepgan.recipe import AugmentationRecipe
from sepgan.separation.api import Separator

RATE = 44100
LENGTH_S = 8.0
CLIPS = 8  # of pairs
EFFECTS = {
    "as it is": Drawn(),
    "a room of 0.6 s, -12 dB": Drawn(room=Room(0.6, -12.0, 5000.0, 0.01, 1)),
    "a hall of 2.5 s, -4 dB": Drawn(room=Room(2.5, -4.0, 5000.0, 0.02, 2)),
    "a fifth higher and faster": Drawn(warp=Warp(1.5, 1.5)),
    "a fourth lower and slower": Drawn(warp=Warp(0.75, 0.75)),
    "telephone": Drawn(bands=(Band("low", 400.0, -18.0), Band("peak", 1500.0, 6.0)), lowpass_hz=4000.0),
}


def songs(data: Path, stem: str) -> Iterator[tuple[Waveform, Waveform]]:
    """Yield the stem and the rest of each song that has it, `[C, T]` each, where the stem is loudest."""
    pairs = sorted((data / "pairs/valid").iterdir())
    for song in (*sorted((data / "stems/valid").iterdir()), *pairs[:: max(1, len(pairs) // CLIPS)][:CLIPS]):
        stems = {file.stem: _read(file) for file in sorted(song.iterdir())}
        if stem not in stems or len(stems) < 2:
            continue
        wanted = stems.pop(stem)
        length = min(wanted.shape[1], round(LENGTH_S * RATE))
        energy = np.cumsum(np.pad(np.square(wanted).sum(0, dtype=np.float64), (1, 0)))
        start = int(np.argmax(energy[length:] - energy[:-length]))
        rest = np.sum(list(stems.values()), axis=0)
        yield wanted[:, start : start + length], rest[:, start : start + length]


def measure(separator: Separator, data: Path, stem: str) -> dict[str, tuple[float, float]]:
    """For each effect, what share of the stem comes back and its SDR in dB, means over songs."""
    augmenter = Augmenter(AugmentationRecipe(), RATE)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in EFFECTS}
    for wanted, rest in songs(data, stem):
        for name, effect in EFFECTS.items():
            changed = augmenter.apply(torch.from_numpy(wanted)[None], [effect])[0].numpy()
            changed = changed * (_rms(wanted) / max(_rms(changed), 1e-9))
            estimate = separator.separate(changed + rest, RATE)[stem]
            energy = float(np.square(changed, dtype=np.float64).sum())
            kept = float((estimate * changed).sum(dtype=np.float64)) / energy
            sdr = global_sdr(torch.from_numpy(changed)[None], torch.from_numpy(estimate)[None])
            found[name].append((kept, float(sdr)))
    return {
        name: (float(np.mean([a for a, _ in all_])), float(np.mean([b for _, b in all_])))
        for name, all_ in found.items()
    }


def _read(file: Path) -> Waveform:
    waveform, rate = read(file)
    return resample(waveform, rate, RATE)


def _rms(waveform: Waveform) -> float:
    return float(np.sqrt(np.square(waveform, dtype=np.float64).mean()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--stem", default="vocals")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    for folder in ("stems/valid", "pairs/valid"):
        if not (options.data / folder).is_dir():
            parser.error(f"--data: '{options.data}' must hold {folder}, as data/README.md lays it out")
    if next(songs(options.data, options.stem), None) is None:
        parser.error(f"--stem: no song below '{options.data}' has '{options.stem}'")
    separators = {model: Separator.load(model) for model in options.model}
    for model, separator in separators.items():
        if options.stem not in separator.stems:
            parser.error(f"--stem: '{options.stem}' must be a stem of '{model}': {', '.join(separator.stems)}")
    results = {model: measure(separator, options.data, options.stem) for model, separator in separators.items()}
    if options.json:
        print(json.dumps(results))
        return
    print(f"| {options.stem} | {' | '.join(f'`{model}`: kept, SDR' for model in results)} |")
    print("| --- " * (len(results) + 1) + "|")
    for name in EFFECTS:
        print(f"| {name} | {' | '.join('{:.2f}, {:.1f}'.format(*results[model][name]) for model in results)} |")


if __name__ == "__main__":
    main()
