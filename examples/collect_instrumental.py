"""Link the songs without singing below some folders into one folder, for `{kind: singles, stem: accompaniment}`.

    python examples/collect_instrumental.py FOLDER... --out MUSIC/train

A song is taken if it is long enough and if a model with a `vocals` stem, by default `spleeter-2stems` (`sepgan models
add spleeter-2stems`), finds little in three excerpts of it. What it hears as singing, such as choirs and some leads, is
left out, so that a separator is not taught to call it accompaniment.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from sepgan.audio import probe, read_blocks, resample
from sepgan.errors import AudioError
from sepgan.separator import Separator

SUFFIXES = {".flac", ".mp3", ".ogg", ".opus", ".wav"}
EXCERPT_S = 8.0
PLACES = (0.2, 0.5, 0.8)  # of the length


def vocals_db(separator: Separator, path: Path) -> float:
    """Largest share of the energy that goes to `vocals` in any of the excerpts, in dB of the song's.

    Raises:
        AudioError: The file cannot be read.
    """
    info = probe(path)
    loudest = -np.inf
    for place in PLACES:
        start = round(place * (info.frames or 0))
        blocks = list(read_blocks(path, info.sample_rate, start=start, frames=round(EXCERPT_S * info.sample_rate)))
        excerpt = resample(np.concatenate(blocks, axis=1), info.sample_rate, separator.sample_rate)[:2]
        mixture = torch.from_numpy(np.repeat(excerpt, 2 // len(excerpt), axis=0)).unsqueeze(0)
        with torch.inference_mode():
            vocals = separator(mixture)[:, separator.stems.index("vocals")]
        share = float(vocals.square().sum()) / (float(mixture.square().sum()) + 1e-9)
        loudest = max(loudest, 10 * np.log10(share + 1e-9))
    return loudest


def main() -> None:
    """Parse, look, link."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="spleeter-2stems")
    parser.add_argument("--at-most-db", type=float, default=-11.0, help="of the song's energy may be vocals")
    parser.add_argument("--at-least-s", type=float, default=45.0, help="shorter files are sounds rather than songs")
    options = parser.parse_args()
    separator = Separator.load(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    minutes = 0.0
    for folder in options.folders:
        for path in sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES):
            try:
                info = probe(path)
                length_s = (info.frames or 0) / info.sample_rate
                if length_s < options.at_least_s or vocals_db(separator, path) > options.at_most_db:
                    continue
            except AudioError as error:
                print(f"left out: {error}")
                continue
            name = "__".join((folder.name, *path.relative_to(folder).parts)).replace(" ", "_")
            link = options.out / name
            if not link.exists():
                link.symlink_to(path.resolve())
            minutes += length_s / 60
            print(f"{minutes:7.1f} minutes  {name}", flush=True)


if __name__ == "__main__":
    main()
