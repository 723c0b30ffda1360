"""What networks make of the same processor time: dB of stems against seconds of separating, as a Markdown table.

    python -m benchmarks.networks --data stems=DATA/stems --data pairs=DATA/pairs --data vocals=DATA/vocals \
        --out runs/networks --minutes 10

Each network is trained from scratch on one thread, with the songs, excerpts and seed of the recipe `default` as far as
its folders are given, and no adversary. How many steps fit into the minutes is found by a few steps beforehand; minutes
are of processor time, so other work on the machine takes nothing from anyone. The learning rate falls to its end within
them. The averaged weights are scored on whole validation songs by global SDR (uSDR).

A run that was interrupted goes on from its last state, and what is finished stands in `--out` as JSON and is not done
again. Give fewer `--networks`, and the rest later, to several processes or at several times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sepgan import recipe
from sepgan.cli_options import dataset_roots
from sepgan.data.store import SampleStore
from sepgan.recipe import Recipe
from sepgan.separation.api import Separator as Product
from sepgan.separator import Separator
from sepgan.training.trainer import train
from sepgan.training.validation import open_validation, validate

NETWORKS: dict[str, dict[str, Any]] = {
    "classic": {"kind": "classic", "dropout": 0.0},
    "branched": {
        "kind": "branched",
        "widths": [16, 32, 64, 128, 256],
        "bottleneck": 144,
        "branches": [3, 1],
        "full_resolution": True,
        "head_width": 8,
        "dropout": 0.0,
    },
    "branched half": {
        "kind": "branched",
        "widths": [16, 32, 64, 128, 256],
        "bottleneck": 160,
        "branches": [3, 1],
        "dropout": 0.0,
    },
    "bandsplit": {"kind": "bandsplit"},
    "bandsplit half": {"kind": "bandsplit", "widths": [24, 48, 192]},
}
RECONSTRUCTION = {"bandsplit": "complex"}  # by kind; masks without a phase aim at the part in phase with the mixture
TRIED = 6  # steps that tell how long one takes
WARMUP, AVERAGE = 0.05, 0.1  # of all steps: rising rate, and how far back the averaged weights reach
COUNTED_S = 3.0  # of silence whose arithmetic is counted
SPEED_S = 60.0  # of noise that is separated to tell the speed


def recipe_of(name: str, roots: Mapping[str, Path], steps: int, options: argparse.Namespace) -> Recipe:
    """How a network is trained.

    Args:
        name: Of the network.
        roots: Folders that are there; sources of the recipe `default` in others are left out.
        steps: Of training.
        options: Of the command line.
    """
    base = recipe.to_dict(recipe.load("default"))
    generator = NETWORKS[name]
    data = base["data"] | {
        "excerpt_s": options.excerpt_s,
        "cache": str(options.cache or options.out / "decoded"),
        "train": [source for source in base["data"]["train"] if source["root"] in roots],
        "validation": [source for source in base["data"]["validation"] if source["root"] in roots],
    }
    training = base["train"] | {
        "steps": steps,
        "batch_size": options.batch,
        "learning_rate": options.learning_rate,
        "warmup_steps": max(1, round(WARMUP * steps)),
        "reconstruction": RECONSTRUCTION.get(generator["kind"], "phase_sensitive"),
        "ema": max(0.0, 1 - 1 / max(1.0, AVERAGE * steps)),
        "fine_tune": None,
        "validate_every": steps,
        "validation_s": 1.0,  # the whole songs are scored afterwards
        "log_every": 1,
        "save_every": max(20, steps // 10),
        "report": False,
    }
    kept = {key: base[key] for key in ("stems", "frontend", "seed")}
    own = {"name": _folder(name), "generator": generator, "data": data, "train": training}
    return recipe.from_dict(kept | own)


def _folder(name: str) -> str:
    return name.replace(" ", "_")


class Meter:
    """Processor time of steps, told by a run as it logs them."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, step: int, steps: int, measured: Mapping[str, float]) -> None:
        """Note the time of a step; a validation is told too, and is none."""
        if "reconstruction" in measured:
            self.times.append(time.process_time())

    @property
    def step_s(self) -> float:
        """Of the fastest step: others on the same processor make steps slower, never faster."""
        return min(after - before for before, after in zip(self.times, self.times[1:], strict=False))


def run(name: str, roots: Mapping[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Train, score and time one network, or go on with it."""
    folder: Path = options.out / _folder(name)
    notes = folder / "result.json"
    found: dict[str, Any] = json.loads(notes.read_text()) if notes.is_file() else {}
    if "usdr" in found:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    if "steps" not in found:
        meter = Meter()
        with tempfile.TemporaryDirectory() as trial:
            train(recipe_of(name, roots, TRIED, options), Path(trial), roots, device="cpu", progress=meter)
        found = {"name": name, "steps": max(2, round(60 * options.minutes / meter.step_s)), "trained_cpu_s": 0.0}
        notes.write_text(json.dumps(found))
    began = time.process_time()
    config = recipe_of(name, roots, found["steps"], options)
    try:
        train(config, folder, roots, device="cpu")
    finally:
        found["trained_cpu_s"] += time.process_time() - began
        notes.write_text(json.dumps(found))
    separator = Separator.load(folder / "last.safetensors")
    found |= cost(separator)
    whole = recipe.from_dict(recipe.to_dict(config) | {"train": {"validation_s": 3600.0}})
    songs = open_validation(whole, roots, SampleStore(Path(config.data.cache or ""), separator.sample_rate))
    scores = validate(separator, songs)
    found["usdr"] = {key: round(value, 2) for key, value in scores.items()}
    notes.write_text(json.dumps(found, indent=2))
    return found


def cost(separator: Separator) -> dict[str, float]:
    """Weights, arithmetic and processor time of a separator.

    Returns:
        `parameters`; `gmac_per_s`, of convolutions and matrix products for a second of stereo; `cpu_s_per_minute`, of
        the whole way from waveform to stems.
    """
    samples = separator.excerpt_samples(COUNTED_S)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        separator(torch.zeros(1, 2, samples))
    noise = 0.1 * torch.randn(2, round(SPEED_S * separator.sample_rate), generator=torch.Generator().manual_seed(0))
    product = Product(separator)
    spent = []
    for _ in range(2):
        began = time.process_time()
        product.separate(noise.numpy(), separator.sample_rate)
        spent.append(time.process_time() - began)
    return {
        "parameters": sum(weight.numel() for weight in separator.generator.parameters()),
        "gmac_per_s": counter.get_total_flops() / 2e9 / (samples / separator.sample_rate),
        "cpu_s_per_minute": min(spent) * 60 / SPEED_S,
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The results as Markdown, one network a row; the last column is the mean of all scores."""
    keys = [key for key in results[0]["usdr"] if key != "mean"]
    head = ["network", "M weights", "GMAC per s", "CPU s per minute", "steps", "CPU min trained", *keys, "mean"]
    rows = [head, ["---"] * len(head)]
    for found in results:
        row = [found["name"], f"{found['parameters'] / 1e6:.2f}", f"{found['gmac_per_s']:.2f}"]
        row += [f"{found['cpu_s_per_minute']:.2f}", str(found["steps"]), f"{found['trained_cpu_s'] / 60:.1f}"]
        rows.append(row + [f"{found['usdr'][key]:.2f}" for key in (*keys, "mean")])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH", help="stems, pairs, vocals ...")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, and of table.md")
    parser.add_argument("--cache", type=Path, help="folder of decoded songs; inside --out by default")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time for each network")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--excerpt-s", type=float, default=3.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    roots = dataset_roots(options.data)
    for name in options.networks:
        run(name, roots, options)
    notes = [options.out / _folder(name) / "result.json" for name in NETWORKS]
    known = [json.loads(path.read_text()) for path in notes if path.is_file()]
    text = table([found for found in known if "usdr" in found])
    (options.out / "table.md").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
