"""Every GAN loss on both toys over several seeds, against bounds that stand in `sepgan.training.toys.games`.

    python -m benchmarks.toys --out toys.json

Each loss is given what it cannot do without (`NEEDS`) and is otherwise trained alike. A run counts by its best state
under its own error, which is how a recipe with early stopping counts. Results are written after each run; runs that are
in the file already are not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from sepgan import recipe
from sepgan.recipe.adversary import GAN_LOSSES
from sepgan.training.toys.games import GAMES
from sepgan.training.trainer import open_run

# A spectrally normed critic cannot be clipped, and a critic of energies needs its activation.
NEEDS: dict[str, dict[str, Any]] = {
    "wasserstein": {"clip_weights": 0.1, "updates": 3, "optimiser": "rmsprop"},
    "wasserstein_gp": {"gradient_penalty": 1.0, "updates": 3},
    "margin": {"activation": "energy"},
}
TRAIN: dict[str, Any] = {
    "learning_rate": 1e-3,
    "betas": [0.5, 0.9],
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "ema": 0.99,
    "clip_norm": 10.0,
    "log_every": 100_000,
    "save_every": 100_000,
}
TOYS: dict[str, dict[str, Any]] = {
    "curve": {
        "toy": {"kind": "curve", "widths": [64, 64]},
        "train": {"steps": 600, "batch_size": 128, "validate_every": 100, "patience": 3},
    },
    "multiples": {
        "toy": {"kind": "multiples", "noise": {"dimensions": 100}, "widths": [128]},
        "train": {"steps": 300, "batch_size": 64, "validate_every": 50, "patience": 1},
    },
}


def describe(toy: str, loss: str, seed: int) -> dict[str, Any]:
    """The recipe of one run, as plain data."""
    adversary = {"kind": "mlp", "weight": 1.0, "loss": loss, "widths": [64, 64], "spectral_norm": False}
    adversary |= {"learning_rate": 1e-3, "betas": [0.5, 0.9]} | NEEDS.get(loss, {})
    return {
        "name": f"{toy}, {loss}",
        "seed": seed,
        "toy": TOYS[toy]["toy"] | {"picture": False},
        "adversary": adversary,
        "train": TRAIN | TOYS[toy]["train"],
    }


def measure(toy: str, loss: str, seed: int) -> dict[str, Any]:
    """Train one toy and return the errors of its best state, and whether they keep to the bounds."""
    best: dict[str, float] = {"error": float("inf")}

    def watch(step: int, steps: int, measured: Mapping[str, float]) -> None:
        if measured.get("error", float("inf")) < best["error"]:
            best.update(measured, step=step)

    config = recipe.from_dict(describe(toy, loss, seed))
    assert config.toy is not None
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        open_run(config, Path(folder), {}, device="cpu", progress=watch).fit()
    passes = "squared_error" in best or "rate" in best
    passes = passes and GAMES[toy](config.toy).passes(best)
    return {**best, "passes": passes, "cpu_s": round(time.process_time() - started, 1)}


def table(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line a loss: how many seeds pass, and the worst and the middle seed of each error."""
    yield "| loss | curve: passed | mean squared error | cover | multiples: passed | rate | seen |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for loss in GAN_LOSSES:
        cells = [f"`{loss}`"]
        for toy, keys in (("curve", ("squared_error", "cover")), ("multiples", ("rate", "seen"))):
            runs = [run for key, run in results.items() if key.split("/")[:2] == [toy, loss]]
            cells.append(f"{sum(run['passes'] for run in runs)} of {len(runs)}")
            for key in keys:
                values = sorted(run.get(key, float("nan")) for run in runs)
                middle, worst = (
                    (values[len(values) // 2], values[0 if toy == "multiples" else -1]) if values else (0, 0)
                )
                cells.append(f"{middle:.3g} ({worst:.3g})")
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, JSON")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--losses", nargs="*", choices=list(GAN_LOSSES), default=list(GAN_LOSSES))
    parser.add_argument("--toys", nargs="*", choices=list(TOYS), default=list(TOYS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for seed in range(arguments.seeds):
        for toy in arguments.toys:
            for loss in arguments.losses:
                key = f"{toy}/{loss}/{seed}"
                if key not in results:
                    results[key] = measure(toy, loss, seed)
                    arguments.out.write_text(json.dumps(results, indent=1))
    print("middle seed (worst seed)")
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
