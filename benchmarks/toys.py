"""Every GAN loss on both toys over several seeds, against bounds that stand in `sepgan.training.toys.games`.

    python -m benchmarks.toys --out toys.json --write docs/adversary.md

Each loss is given what it cannot do without (`NEEDS`); otherwise all are trained alike, on all seeds. A run counts by
its best state under its own error, which is how a recipe with early stopping counts. Results are written after each
run; runs that are in the file already are not run again.
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

from benchmarks.pages import replace_between
from sepgan import recipe
from sepgan.atomic import replacing
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
        "train": {"steps": 1200, "batch_size": 128, "validate_every": 100, "patience": 5},
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
    """One line a loss: how many seeds keep to the bounds, errors of the curve seed by seed, worst of the sequences."""
    yield (
        "| loss | curve: seeds within both bounds | mean squared error, by seed | distance of x, by seed "
        "| multiples: seeds within | rate, worst | seen, worst |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for loss in GAN_LOSSES:
        curve, multiples = (_by_seed(results, f"{toy}/{loss}/") for toy in ("curve", "multiples"))
        cells = [f"`{loss}`", _passed(curve)]
        cells += [", ".join(f"{run[key]:.1f}" for run in curve) or "not run" for key in ("squared_error", "cover")]
        cells.append(_passed(multiples))
        for key, digits in (("rate", 3), ("seen", 0)):
            cells.append(f"{min(run[key] for run in multiples):.{digits}f}" if multiples else "not run")
        yield "| " + " | ".join(cells) + " |"


def _by_seed(results: Mapping[str, Mapping[str, Any]], start: str) -> list[Mapping[str, Any]]:
    keys = sorted((key for key in results if key.startswith(start)), key=lambda key: int(key.removeprefix(start)))
    return [results[key] for key in keys]


def _passed(runs: list[Mapping[str, Any]]) -> str:
    return f"{sum(run['passes'] for run in runs)} of {len(runs)}"


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, JSON")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--losses", nargs="*", choices=list(GAN_LOSSES), default=list(GAN_LOSSES))
    parser.add_argument("--toys", nargs="*", choices=list(TOYS), default=list(TOYS))
    parser.add_argument("--write", type=Path, help="page whose table is replaced, docs/adversary.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for seed in range(arguments.seeds):
        for toy in arguments.toys:
            for loss in arguments.losses:
                key = f"{toy}/{loss}/{seed}"
                if key not in results:
                    results[key] = measure(toy, loss, seed)
                    with replacing(arguments.out) as temporary:
                        temporary.write_text(json.dumps(results, indent=1))
    print("\n".join(table(results)))
    if arguments.write is not None:
        replace_between(arguments.write, "toys", table(results))


if __name__ == "__main__":
    main()
