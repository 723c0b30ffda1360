"""Does an adversary help, which one, and with which loss? Paired runs of a small network on real stems.

    python -m benchmarks.ablation run --data DATA --out runs/ablation      # goes on where it stopped
    python -m benchmarks.ablation table --out runs/ablation --write docs/adversary.md
    python -m benchmarks.ablation gradients --data DATA --out runs/ablation

`DATA` holds `stems/{train,valid}/<song>/<stem>` and `pairs/{train,valid}/<singer>_<clip>`.

The rules, fixed before the runs:

- For each seed one network learns by regression alone; from it every arm goes on for as many steps, with the same seed,
  data and schedule. Arms differ in `adversary` only; the arm `none` is the twin of all others.
- Weights were set on a seed that is not in the table, so that when the ramp begins each adversary's gradient at the
  generator's weights has a fifth of the norm of the reconstruction's (`gradients` prints it), and not touched again.
- The unit of music is a singer of `pairs` (all clips together) or a song of `stems`; a score of a run is the mean over
  units. Nothing is chosen on the music that is scored: every run counts by its last weights.
- Differences are arm less `none` of the same seed. Two intervals of 95 %: over seeds (Student's t on the paired
  differences; from three seeds on), which says what another training run would do on this music, and over units
  (bootstrap, means over seeds first), which says what these runs would do on other music.
- An arm *helps* if both intervals of the MR-STFT distance lie below zero and global SDR loses at most 0.1 dB; it
  *hurts* if both lie above zero, or if both intervals of global SDR lie below zero; otherwise nothing is shown. `patch`
  against `none` is the question; all other arms are looks around, without correction for their number.
- The smallest difference that the design detects: the true mean difference at which a two-sided paired t-test at 5 %
  over these seeds is significant in 80 % of such experiments, from the spread that was found. Arms of fewer than three
  seeds take the spread of the headline pair.
- Seeds in order: all of the headline pair first, then one of each arm, then further ones as time allows.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.pages import replace_between
from sepgan import checkpoint, recipe
from sepgan.atomic import replacing
from sepgan.data.store import SampleStore
from sepgan.evaluation.statistics import (
    MINIMUM_TRACKS,
    Values,
    difference_interval,
    mean_interval,
    smallest_detectable,
)
from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training.adversary import Adversary
from sepgan.training.comparison.measure import METRICS, REALISM, SDR_LOSS_DB, score
from sepgan.training.task import Part
from sepgan.training.trainer import open_run, train
from sepgan.training.validation import ValidationSong, open_validation

PATCH: dict[str, Any] = {"kind": "patch", "widths": [16, 32, 64, 128]}
SCALES: dict[str, Any] = {"kind": "stft", "widths": [4], "n_ffts": [1024, 256], "spectral_norm": False}
ARMS: dict[str, dict[str, Any]] = {
    "none": {"weight": 0.0},
    "patch": PATCH | {"weight": 0.3},
    "scales": SCALES | {"weight": 6.0},
    "patch and scales": PATCH | {"also": [SCALES], "weight": 0.6},
    "context": {"kind": "context", "widths": [16, 32, 64, 128], "weight": 0.9},
    "patch 70 x 70": {"kind": "patch", "widths": [64, 128, 256, 512], "flat_levels": 1, "weight": 0.7},
    "patch, hinge": PATCH | {"loss": "hinge", "weight": 0.02},
    "patch, relativistic with R1": PATCH | {"loss": "relativistic_pairing", "r1": 1.0, "weight": 7.0},
    "patch, Wasserstein with penalty": PATCH | {"loss": "wasserstein_gp", "gradient_penalty": 10.0, "weight": 0.05},
}
HEADLINE = ("none", "patch")
COSTLY = ("scales", "patch and scales", "patch 70 x 70")  # with fewer seeds
SEEDS, COSTLY_SEEDS = 5, 2
LEAST_SEEDS = 3  # for an interval over them
SHARE = 0.2  # of the reconstruction's gradient
PILOT_SEED = 99  # on which weights were set
PHASES = ("start", "arm")  # regression alone, and what follows

STEPS = {"start": 1000, "arm": 320}
# With spectral norm a discriminator does not tell real from generated within such a warm-up.
ADVERSARY: dict[str, Any] = {"learning_rate": 1e-3, "warmup_steps": 120, "ramp_steps": 20, "spectral_norm": False}
BASE: dict[str, Any] = {
    "stems": ["drums", "bass", "other", "vocals"],
    "frontend": {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256, "mel_bands": 64},
    "generator": {"kind": "classic", "channels": 1, "widths": [12, 24, 48, 96], "dropout": 0.0, "head_width": 12},
    "data": {
        "excerpt_s": 1.0,
        "remix": 0.6,
        "gain_db": [-10.0, 6.0],
        "train": [
            {"kind": "folder", "root": "stems", "include": "MDBDrums*", "absent": "silent", "weight": 4},
            {"kind": "folder", "root": "stems", "include": "Everything*", "absent": "in_other", "weight": 3},
            {"kind": "pairs", "root": "pairs", "weight": 5},
        ],
    },
    "train": {
        "validation_s": 20,
        "batch_size": 4,
        "warmup_steps": 20,
        "reconstruction": "phase_sensitive",
        "ema": 0.99,
        "report": False,
        "log_every": 20,
        "save_every": 100_000,
    },
}
VALIDATION = [
    {"kind": "pairs", "root": "pairs", "split": "valid", "limit": 24},
    {"kind": "folder", "root": "stems", "split": "valid"},
]
RATES = {"start": (2e-3, 2e-4), "arm": (5e-4, 2e-5)}  # of the generator, first and last


def describe(phase: str, arm: str, seed: int, folder: Path) -> Recipe:
    """The recipe of one run.

    Args:
        phase: One of `PHASES`.
        arm: One of `ARMS`.
        seed: Of weights and examples; the second phase sees other examples than the first.
        folder: Of all runs.
    """
    first, last = RATES[phase]
    training: dict[str, Any] = {
        "steps": STEPS[phase],
        "validate_every": STEPS[phase],
        "learning_rate": first,
        "final_learning_rate": last,
    }
    if phase == "arm":
        training["fine_tune"] = str(folder / f"start-{seed}" / f"last{checkpoint.SUFFIX}")
    plain = BASE | {
        "name": f"{arm}, seed {seed}",
        "seed": seed if phase == "start" else 1000 + seed,
        "adversary": ADVERSARY | ARMS[arm] if phase == "arm" else ARMS["none"],
        "data": BASE["data"] | {"cache": str(folder / "cache")},
        "train": BASE["train"] | training,
    }
    return recipe.from_dict(plain)


def plan(seeds: int, costly_seeds: int) -> Iterator[tuple[str, int]]:
    """Arms and seeds in the order in which they are run."""
    yield from ((arm, seed) for seed in range(seeds) for arm in HEADLINE)
    for seed in range(seeds):
        yield from ((arm, seed) for arm in ARMS if arm not in HEADLINE and (seed < costly_seeds or arm not in COSTLY))


def start(seed: int, folder: Path, roots: Mapping[str, Path]) -> None:
    """Train what all arms of a seed begin with; what is done is kept."""
    out = folder / f"start-{seed}"
    if not (out / f"last{checkpoint.SUFFIX}").is_file():
        train(describe("start", "none", seed, folder), out, roots, device="cpu")


def run(
    arm: str, seed: int, folder: Path, roots: Mapping[str, Path], songs: Sequence[ValidationSong]
) -> dict[str, Any]:
    """Train one arm from the start of its seed, and score it."""
    start(seed, folder, roots)
    config = describe("arm", arm, seed, folder)
    measured: dict[str, float] = {}
    began = time.process_time()
    out = folder / f"{arm}-{seed}".replace(" ", "_")
    train(config, out, roots, device="cpu", progress=lambda step, steps, values: measured.update(values))
    trained = time.process_time()
    path = out / f"last{checkpoint.SUFFIX}"
    header, weights = checkpoint.read(path)
    scored = score(Separator.build(header, weights, str(path)).eval(), songs, float(arm != "none"))
    rows = [
        {"song": song.name, "unit": unit(song), "stems": stems} for song, stems in zip(songs, scored.stems, strict=True)
    ]
    return {
        "arm": arm,
        "seed": seed,
        "songs": rows,
        "realism": scored.realism,
        "last_logged": measured,
        "train_cpu_s": round(trained - began, 1),
        "score_cpu_s": round(time.process_time() - trained, 1),
    }


def unit(song: ValidationSong) -> str:
    """What a song counts with: all clips of a singer are one."""
    return f"singer {song.name.split('_')[0]}" if song.source.startswith("pairs") else song.name


def gradients(arms: Sequence[str], seed: int, folder: Path, roots: Mapping[str, Path]) -> Iterator[str]:
    """Norm of each adversary's gradient at the generator's weights, of the reconstruction's, when the ramp begins."""
    start(seed, folder, roots)
    for arm in arms:
        loop = open_run(describe("arm", arm, seed, folder), folder / f"gradients {arm}", roots, device="cpu")
        task, stream = loop.task, loop.task.batches(_part(loop.config.batch_size))
        for _ in range(ADVERSARY["warmup_steps"]):
            loop.train_step([next(stream)])
        assert isinstance(task.adversary, Adversary)
        ratios = []
        for _ in range(8):
            made = task.make(next(stream), judged=True)
            if made.evidence is None or made.reconstruction is None:
                continue
            adversarial = task.adversary.generator_losses(made.evidence)["adversarial"]
            weights = [weight for weight in task.generator.parameters() if weight.requires_grad]
            norms = [
                float(
                    torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights, retain_graph=True)]).norm()
                )
                for loss in (adversarial, made.reconstruction)
            ]
            ratios.append(norms[0] / norms[1])
        found = float(np.median(ratios))
        yield f"{arm}: {found:.3g} at weight 1, so {SHARE} at weight {SHARE / found:.2g}"


def _part(batch_size: int) -> Part:
    return Part(0, batch_size, 0, 1, None)


def music(data: Path) -> dict[str, Path]:
    """Dataset folders by the names that recipes give them."""
    return {name: data / name for name in ("stems", "pairs")}


def read(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Results by arm and seed."""
    found: dict[str, dict[int, dict[str, Any]]] = {arm: {} for arm in ARMS}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        found[result["arm"]][result["seed"]] = result
    return found


def by_unit(result: Mapping[str, Any], metric: str, stem: str | None = None) -> dict[str, float]:
    """Mean score of each singer and song, over all stems or one; units without any are left out."""
    values: dict[str, list[float]] = {}
    for row in result["songs"]:
        scores = [row["stems"][stem]] if stem in row["stems"] else [] if stem else row["stems"].values()
        defined = [one[metric] for one in scores if math.isfinite(one[metric])]
        if defined:
            values.setdefault(row["unit"], []).append(float(np.mean(defined)))
    return {name: float(np.mean(ones)) for name, ones in values.items()}


class Change(NamedTuple):
    """An arm less `none` by one metric, over the seeds that both have."""

    by_seed: Values
    mean: float
    seeds: tuple[float, float]  # interval over seeds
    units: tuple[float, float]  # interval over singers and songs


def change(
    results: Mapping[str, Mapping[int, Mapping[str, Any]]], arm: str, metric: str, stem: str | None = None
) -> Change:
    """Compare an arm with its twins."""
    seeds = sorted(results[arm].keys() & results["none"].keys())
    sides = []
    for name in (arm, "none"):
        if metric == REALISM:
            sides.append(np.array([[results[name][seed]["realism"]] for seed in seeds]))
        else:
            rows = [by_unit(results[name][seed], metric, stem) for seed in seeds]
            sides.append(np.array([[row[key] for key in sorted(row)] for row in rows]))  # [seed, unit]
    by_seed = sides[0].mean(1) - sides[1].mean(1)
    over_seeds = mean_interval(by_seed) if len(seeds) >= LEAST_SEEDS else (math.nan, math.nan)
    units = sides[0].shape[1]
    over_units = (math.nan, math.nan)
    if units >= MINIMUM_TRACKS:
        over_units = difference_interval(sides[0].mean(0), sides[1].mean(0), "mean")
    return Change(by_seed, float(by_seed.mean()), over_seeds, over_units)


def verdict(distance: Change, sdr: Change) -> str:
    """What the rules say of an arm."""
    if any(math.isnan(end) for one in (distance, sdr) for pair in (one.seeds, one.units) for end in pair):
        return "too few seeds"
    if max(distance.seeds[1], distance.units[1]) < 0 and sdr.mean >= -SDR_LOSS_DB:
        return "helps"
    if min(distance.seeds[0], distance.units[0]) > 0 or max(sdr.seeds[1], sdr.units[1]) < 0:
        return "hurts"
    return "nothing shown"


def rows_of_arms(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Iterator[str]:
    """Every arm against its twins."""
    names = METRICS | {REALISM: REALISM}
    yield "| arm | seeds | " + " | ".join(names.values()) + " | verdict |"
    yield "| --- | --- |" + " --- |" * (len(names) + 1)
    for arm in ARMS:
        seeds = len(results[arm].keys() & results["none"].keys())
        if not seeds:
            continue
        found = {metric: change(results, arm, metric) for metric in names}
        if arm == "none":
            own = {metric: _own(results["none"], metric) for metric in names}
            yield f"| none, as it is | {seeds} | " + " | ".join(f"{own[metric]:.3f}" for metric in names) + " | |"
            continue
        cells = " | ".join(_cell(one) for one in found.values())
        yield f"| {arm} | {seeds} | {cells} | {verdict(found['mr_stft'], found['usdr'])} |"


def rows_of_stems(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Iterator[str]:
    """The headline pair, stem by stem, with the smallest difference that could have been found."""
    arm = HEADLINE[1]
    stems = sorted({stem for result in results["none"].values() for row in result["songs"] for stem in row["stems"]})
    yield f"| `{arm}` less `none` | stem | found | smallest that {len(results[arm])} seeds detect |"
    yield "| --- | --- | --- | --- |"
    for metric, name in (METRICS | {REALISM: REALISM}).items():
        for stem in (None, *stems) if metric == "usdr" else (None,):
            found = change(results, arm, metric, stem)
            least = smallest_detectable(float(np.std(found.by_seed, ddof=1)), len(found.by_seed))
            yield f"| {name} | {stem or 'all'} | {_cell(found)} | {least:.3f} |"


def smallest_of_few(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """What arms with two seeds could detect, with the spread of the headline pair."""
    spreads = {metric: float(np.std(change(results, HEADLINE[1], metric).by_seed, ddof=1)) for metric in METRICS}
    limits = [f"{METRICS[metric]} {smallest_detectable(spread, 2):.2f}" for metric, spread in spreads.items()]
    return "Two seeds with the same spread would detect: " + ", ".join(limits) + "."


def _own(runs: Mapping[int, Mapping[str, Any]], metric: str) -> float:
    if metric == REALISM:
        return float(np.mean([result["realism"] for result in runs.values()]))
    return float(np.mean([np.mean(list(by_unit(result, metric).values())) for result in runs.values()]))


def _cell(found: Change) -> str:
    """The mean, its interval over seeds and over units; single values where seeds are few."""
    if len(found.by_seed) < LEAST_SEEDS:
        return ", ".join(f"{value:+.3f}" for value in found.by_seed)
    text = f"{found.mean:+.3f} [{found.seeds[0]:+.3f}, {found.seeds[1]:+.3f}]"
    return text if math.isnan(found.units[0]) else f"{text} ({found.units[0]:+.3f}, {found.units[1]:+.3f})"


def show(folder: Path, page: Path | None) -> None:
    """Print the tables, and put them into a page between its two marks."""
    results = read(folder)
    lines = [*rows_of_arms(results), "", *rows_of_stems(results), "", smallest_of_few(results)]
    print("\n".join(lines))
    if page is not None:
        replace_between(page, "ablation", lines)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "table", "gradients"):
        command = commands.add_parser(name)
        command.add_argument("--out", type=Path, required=True, help="folder of all runs and results")
        if name != "table":
            command.add_argument("--data", type=Path, required=True, help="folder that holds stems/ and pairs/")
    commands.choices["run"].add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    commands.choices["run"].add_argument("--seeds", type=int, default=SEEDS)
    commands.choices["run"].add_argument("--costly-seeds", type=int, default=COSTLY_SEEDS)
    judged = [arm for arm in ARMS if arm != "none"]
    commands.choices["gradients"].add_argument("--arms", nargs="+", choices=judged, default=judged)
    commands.choices["table"].add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    if options.command == "table":
        show(options.out, options.write)
        return
    torch.set_num_threads(1)
    roots = music(options.data)
    if options.command == "gradients":
        for line in gradients(options.arms, PILOT_SEED, options.out, roots):
            print(line, flush=True)
        return
    songs = validation(options.out, roots)
    for arm, seed in plan(options.seeds, options.costly_seeds):
        path = options.out / f"{arm}-{seed}.json".replace(" ", "_")
        if path.is_file() or arm not in options.arms:
            continue
        result = run(arm, seed, options.out, roots, songs)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1))
        print(f"{arm}, seed {seed}: {result['train_cpu_s']} s and {result['score_cpu_s']} s", flush=True)


def validation(folder: Path, roots: Mapping[str, Path]) -> list[ValidationSong]:
    """All music that runs are scored on."""
    data = BASE["data"] | {"cache": str(folder / "cache"), "validation": VALIDATION}
    config = recipe.from_dict(BASE | {"name": "validation", "data": data})
    return open_validation(config, roots, SampleStore(folder / "cache", config.frontend.sample_rate))


if __name__ == "__main__":
    main()
