"""What rendered songs, the teacher and the adversary each bring to the bundled network, one at a time.

    sepgan models add spleeter-2stems
    sepgan models begin default DATA/stems/train/Everything*/*.ogg --licence "CC0 1.0" --out start.safetensors
    python -m benchmarks.ingredients --start start.safetensors --data stems=DATA/stems --data ... \
        --out runs/ingredients --write docs/default_model.md

The rules, fixed before the runs:

- `all` is the recipe `default` with its teacher, without an adversary. Every other arm differs from it in one thing: no
  rendered songs (the other sources keep their weights), no teacher, or with an adversary (the patch network,
  relativistic pairing with R1, after a third of the steps).
- All begin with the same weights, those of Spleeter's vocal network in the smaller shape, which have seen none of these
  songs but to choose features; then as many steps, with the same schedule. Seeds are paired: an arm is compared with
  `all` of the same seed, though excerpts differ where sources do.
- Scored are the averaged last weights on the middle of the held-out songs, global SDR (uSDR). Nothing is chosen on it.
- With so few seeds there is no interval: differences are given seed by seed, and one that differs in sign between them
  is called nothing.

What is finished stands in `--out` as JSON and is not done again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.pages import replace_between
from sepgan import recipe
from sepgan.atomic import replacing
from sepgan.cli_options import dataset_roots
from sepgan.recipe import Recipe
from sepgan.training.trainer import train

TEACHER: dict[str, Any] = {
    "model": "spleeter-2stems",
    "weight": 0.5,
    "weight_with_stems": 0.3,
    "stems": {"vocals": ["vocals"]},
}
ADVERSARY: dict[str, Any] = {
    "kind": "patch",
    "widths": [16, 32, 64, 128],
    "loss": "relativistic_pairing",
    "r1": 1.0,
    "spectral_norm": False,
    "learning_rate": 1e-3,
    "weight": 0.4,  # a fifth of the reconstruction's gradient at the weights when it begins to count, on another seed
}
NONE: dict[str, Any] = {"kind": "patch", "weight": 0.0}
ARMS = ("all", "without rendered songs", "without the teacher", "with an adversary")
RENDERED = "rendered"  # how the roots of rendered songs begin


def describe(arm: str, seed: int, options: argparse.Namespace) -> Recipe:
    """The recipe of one run.

    Args:
        arm: One of `ARMS`.
        seed: Of excerpts and the discriminator's first weights.
        options: Of the command line.
    """
    base = recipe.to_dict(recipe.load("default"))
    sources = base["data"]["train"]
    if arm == "without rendered songs":
        sources = [source for source in sources if not source["root"].startswith(RENDERED)]
    steps = options.steps
    adversary = NONE
    if arm == "with an adversary":
        adversary = ADVERSARY | {"start_step": 0, "warmup_steps": steps // 3, "ramp_steps": max(1, steps // 20)}
    training = base["train"] | {
        "steps": steps,
        "batch_size": options.batch,
        "learning_rate": options.learning_rate,
        "final_learning_rate": options.learning_rate / 100,
        "warmup_steps": max(1, steps // 20),
        "ema": 0.95,
        "fine_tune": str(options.start),
        "validate_every": steps,
        "save_every": 100_000,
        "report": False,
    }
    data = base["data"] | {"train": sources, "excerpt_s": options.excerpt_s, "cache": str(options.cache)}
    own = {"name": f"{arm}, seed {seed}", "seed": seed, "adversary": adversary, "data": data, "train": training}
    return recipe.from_dict(base | own | {"teacher": None if arm == "without the teacher" else TEACHER})


def run(arm: str, seed: int, roots: Mapping[str, Path], options: argparse.Namespace) -> None:
    """Train and score one arm, unless that has been done."""
    notes = options.out / f"{arm}-{seed}.json".replace(" ", "_")
    if notes.is_file():
        return
    measured: dict[str, float] = {}
    folder = options.out / notes.stem
    train(describe(arm, seed, options), folder, roots, device="cpu", progress=lambda *told: measured.update(told[-1]))
    scores = {key.removeprefix("usdr/"): value for key, value in measured.items() if key.startswith("usdr/")}
    with replacing(notes) as temporary:
        temporary.write_text(json.dumps({"arm": arm, "seed": seed, "usdr": scores}, indent=1))


def rows(results: Mapping[tuple[str, int], Mapping[str, float]]) -> Iterator[str]:
    """The scores of `all`, mean over seeds, and what each arm changes, seed by seed."""
    keys = sorted(next(iter(results.values())))
    yield "| | " + " | ".join(keys) + " |"
    yield "| --- |" + " --- |" * len(keys)
    for arm in ARMS:
        seeds = sorted(seed for name, seed in results if name == arm and (ARMS[0], seed) in results)
        if not seeds:
            continue
        if arm == ARMS[0]:
            cells = [f"{sum(results[arm, seed][key] for seed in seeds) / len(seeds):.2f}" for key in keys]
        else:
            cells = [
                ", ".join(f"{results[arm, seed][key] - results[ARMS[0], seed][key]:+.2f}" for seed in seeds)
                for key in keys
            ]
        yield f"| {arm} | " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="weights that all begin with")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH", help="stems, pairs, music ...")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and results")
    parser.add_argument("--cache", type=Path, help="folder of decoded songs; inside --out by default")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--excerpt-s", type=float, default=4.0)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args(arguments)
    options.cache = options.cache or options.out / "decoded"
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    roots = dataset_roots(options.data)
    for seed in options.seeds:
        for arm in options.arms:
            run(arm, seed, roots, options)
    found = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
    table = list(rows({(one["arm"], one["seed"]): one["usdr"] for one in found}))
    print("\n".join(table))
    if options.write is not None:
        replace_between(options.write, "ingredients", table)


if __name__ == "__main__":
    main()
