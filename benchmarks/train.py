"""How fast training is: audio a second, waiting for data, and steps beside plain PyTorch and a heavy discriminator.

    python -m benchmarks.train --runs 5
    python -m benchmarks.train --device cuda --batch 32 --seconds 6 --runs 20 --json

Three kinds of step are taken by turns on the same batch of noise with the networks of a recipe: the trainer's own, one
of a plain loop (same networks, losses, optimisers and clipping; no averaging of weights, no log, no guard against
divergence), and the trainer's with the 70 x 70 patch discriminator of Isola et al. (CVPR 2017; 64 to 512 channels) in
place of the recipe's. Each ratio is the median over runs of the ratios within a run, so that a busy minute of the
machine hits both sides. On a CPU they are ratios of processor time, elsewhere of time on the clock.

Audio a second and the share of time spent waiting come from further steps on batches cut from songs of noise, decoded
before, as in training; they are times on the clock, and hold for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.separate import machine
from sepgan import recipe
from sepgan.cli_options import find_device
from sepgan.data.excerpts import Batch
from sepgan.models.judgement import Judgement
from sepgan.recipe import Recipe
from sepgan.training.loop import Loop
from sepgan.training.losses import LEVEL_FLOOR
from sepgan.training.separation import SeparationTask
from sepgan.training.trainer import open_run

OURS, PLAIN, HEAVY = "trainer", "plain PyTorch", "trainer, 70 x 70 patch"
HEAVY_WIDTHS = "adversary={kind: patch, weight: 1.0, widths: [64, 128, 256, 512], flat_levels: 1}"
OVERHEAD = 0.05  # largest share of a plain step that ours may take on top
CHEAPER = 3.0  # times that a step with the 70 x 70 patch must take as long
SONG_S = 20.0


@dataclass(frozen=True)
class Spent:
    """Of one step."""

    cpu_s: float
    wall_s: float


class PlainLoop:
    """What one would write for these networks without this package's trainer.

    Args:
        task: Its networks are copied.
    """

    def __init__(self, task: SeparationTask) -> None:
        config = task.config
        (judge,) = task.adversary.judges
        self.separator = copy.deepcopy(task.separator).train()
        self.discriminator: nn.Module = copy.deepcopy(judge.network.module)  # type: ignore[assignment]
        self.weight = config.adversary.weight
        self.clips = config.train.clip_norm, config.adversary.clip_norm
        self.optimiser = torch.optim.AdamW(self.separator.parameters(), config.train.learning_rate)
        self.judging = torch.optim.AdamW(
            self.discriminator.parameters(), config.adversary.learning_rate, betas=config.adversary.betas
        )

    def step(self, batch: Batch) -> None:
        """Least squares for both networks, L1 relative to the mixture's level for the generator."""
        separator = self.separator
        with torch.no_grad():
            mixture = separator.bands(separator.stft(batch.mixture).abs())
            stems = separator.bands(separator.stft(batch.targets).abs())
        estimates = separator.generator(mixture) * mixture.unsqueeze(1)
        count = stems.shape[1]
        seen = mixture.repeat_interleave(count, 0)
        real, fake = stems.flatten(0, 1), estimates.flatten(0, 1)
        label = torch.arange(count, device=mixture.device).repeat(len(mixture))

        self.discriminator.requires_grad_(True)
        self.judging.zero_grad()
        loss = (self.judge(seen, real, label) - 1).square().mean()
        loss = loss + self.judge(seen, fake.detach(), label).square().mean()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.clips[1])
        self.judging.step()

        self.discriminator.requires_grad_(False)
        error = (estimates - stems).abs().sum(1).mean((1, 2, 3))
        reconstruction = (error / (mixture.mean((1, 2, 3)) + LEVEL_FLOOR)).mean()
        loss = reconstruction + self.weight * (self.judge(seen, fake, label) - 1).square().mean()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.separator.parameters(), self.clips[0])
        self.optimiser.step()

    def judge(self, mixture: Tensor, stem: Tensor, label: Tensor) -> Tensor:
        """Scores of patches."""
        judgement: Judgement = self.discriminator(mixture, stem, label)
        return judgement.scores[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 where a goal is missed."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = write_songs(Path(folder) / "music", max(SONG_S, options.seconds))
        configs = {OURS: settings(options, root), HEAVY: settings(options, root, HEAVY_WIDTHS)}
        loops = {
            name: open_run(config, Path(folder) / "run", {}, device=options.device) for name, config in configs.items()
        }
        report = compare(loops[OURS], loops[HEAVY], options.runs) | throughput(loops[OURS], options.runs)
    found = asdict(machine(options.device))
    if options.json:
        told = {key: getattr(options, key) for key in ("recipe", "batch", "seconds", "workers", "runs")}
        print(json.dumps(report | {"settings": told, "machine": found}, indent=2))
    else:
        print(f"{found['cpu']}, threads: {found['threads']}, device {found['device']}, torch {found['torch']}")
        print("\n".join(lines(report, options)))
    return 1 if report["missed"] else 0


def lines(report: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """The report for people."""
    found = [
        f"{options.recipe}, {options.batch} excerpts of {options.seconds:g} s a step, medians of {options.runs} runs:"
    ]
    for name, step in report["steps"].items():
        found.append(f"{name:24s} {step['gmac']:8.2f} GMAC {step['cpu_s']:8.3f} CPU s {step['wall_s']:8.3f} s")
    for name, of in (
        ("overhead", "over plain PyTorch"),
        ("times_cheaper", "times cheaper than with the 70 x 70 patch"),
    ):
        ratio = report[name]
        shown = ".1%" if name == "overhead" else ".2f"
        spread = f"{ratio['lowest']:{shown}} to {ratio['highest']:{shown}}"
        found.append(f"{ratio['median']:{shown}} {of} (runs: {spread}; goal {ratio['goal']:{shown}})")
    found.append(
        f"{report['audio_s_per_s']:.1f} s of audio trained a second, "
        f"{report['waiting_share']:.1%} of the time waiting for data ({options.workers} workers)"
    )
    found.append("goals missed: " + ", ".join(report["missed"]) if report["missed"] else "all goals met")
    return found


def settings(options: argparse.Namespace, root: Path, *overrides: str) -> Recipe:
    """The recipe on songs of noise, in 32 bits, with both networks at work from the first step on."""
    source = {"kind": "folder", "root": f"{root}/"}
    base = recipe.to_dict(recipe.load(options.recipe))
    for override in (*options.overrides, *overrides):
        recipe.assign(base, override)
    base["data"] |= {"train": [source], "validation": [], "excerpt_s": options.seconds, "workers": options.workers}
    base["data"] |= {"cache": str(root / "cache"), "decode": "once", "resident": False}
    base["adversary"] |= {"start_step": 0, "warmup_steps": 0, "ramp_steps": 0}
    base["train"] |= {
        "batch_size": options.batch,
        "precision": "32-true",
        "accumulate": 1,
        "reconstruction": "magnitude",
    }
    base["train"] |= {"fine_tune": None, "report": False, "steps": 10**6, "log_every": 50}
    config = recipe.from_dict(base)
    refused = config.adversary.weight == 0 or config.adversary.loss != "least_squares" or config.adversary.also
    if refused or config.adversary.kind != "patch":
        sys.exit(f"recipe '{options.recipe}' must have one patch discriminator with a least-squares loss and a weight")
    return config


def write_songs(root: Path, seconds: float, sample_rate: int = 44100) -> Path:
    """Two songs of noise, four stems each, every stem at its own level."""
    random = np.random.default_rng(0)
    for song in ("one", "two"):
        for level, stem in zip((0.1, 0.07, 0.05, 0.03), recipe.MUSDB_STEMS, strict=True):
            path = root / "train" / song / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, level * random.standard_normal((round(seconds * sample_rate), 2)), sample_rate)
    return root


def compare(ours: Loop, heavy: Loop, runs: int) -> dict[str, Any]:
    """Times and ratios of the three kinds of step."""
    tasks = {name: _task(loop) for name, loop in ((OURS, ours), (HEAVY, heavy))}
    plain = PlainLoop(tasks[OURS])
    batch: Batch = next(ours._stream())
    steps: dict[str, Callable[[], object]] = {
        OURS: lambda: ours.train_step([batch]),
        PLAIN: lambda: plain.step(batch),
        HEAVY: lambda: heavy.train_step([batch]),
    }
    macs = {}
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counter:  # which is the warm-up too
            step()
        macs[name] = counter.get_total_flops() / 2
    device = batch.mixture.device
    found: dict[str, list[Spent]] = {name: [] for name in steps}
    for run in range(runs):
        names = list(steps)
        for name in names[run % 3 :] + names[: run % 3]:
            found[name].append(time_of(steps[name], device))
    report: dict[str, Any] = {
        "steps": {
            name: {
                "gmac": macs[name] / 1e9,
                "cpu_s": statistics.median(step.cpu_s for step in spent),
                "wall_s": statistics.median(step.wall_s for step in spent),
            }
            for name, spent in found.items()
        },
        "overhead": ratio_of(found[OURS], found[PLAIN], device, less=1.0) | {"goal": OVERHEAD},
        "times_cheaper": ratio_of(found[HEAVY], found[OURS], device) | {"goal": CHEAPER},
    }
    missed = [("overhead", report["overhead"]["median"] > OVERHEAD)]
    missed.append(("times cheaper", report["times_cheaper"]["median"] < CHEAPER))
    return report | {"missed": [name for name, is_missed in missed if is_missed]}


def ratio_of(
    first: Sequence[Spent], second: Sequence[Spent], device: torch.device, less: float = 0.0
) -> dict[str, float]:
    """Ratio of steps taken in the same runs.

    >>> cpu = torch.device("cpu")
    >>> ratio_of([Spent(2, 9), Spent(6, 9), Spent(8, 9)], [Spent(1, 1), Spent(2, 1), Spent(4, 1)], cpu)
    {'median': 2.0, 'lowest': 2.0, 'highest': 3.0}
    """
    key = "cpu_s" if device.type == "cpu" else "wall_s"
    ratios = [getattr(one, key) / getattr(other, key) - less for one, other in zip(first, second, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def throughput(loop: Loop, runs: int) -> dict[str, float]:
    """Seconds of audio a second, and the share of time that goes by until a batch is there."""
    task, stream = _task(loop), loop._stream()
    loop.train_step([next(stream)])
    device = task.fabric.device
    began, waited = _now(device), 0.0
    for _ in range(runs):
        asked = _now(device)
        batch = next(stream)
        waited += time.perf_counter() - asked
        loop.train_step([batch])
    spent = _now(device) - began
    stream.close()
    audio_s = runs * len(batch.mixture) * batch.mixture.shape[-1] / task.separator.sample_rate
    return {"audio_s_per_s": audio_s / spent, "waiting_share": waited / spent}


def time_of(step: Callable[[], object], device: torch.device) -> Spent:
    """Time a step."""
    wall, cpu = _now(device), time.process_time()
    step()
    return Spent(wall_s=_now(device) - wall, cpu_s=time.process_time() - cpu)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _task(loop: Loop) -> SeparationTask:
    assert isinstance(loop.task, SeparationTask)
    return loop.task


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the speed of training.")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=VALUE", help="changed keys of the recipe")
    parser.add_argument("--recipe", default="musdb_unet_gan", help="with one patch discriminator")
    parser.add_argument("--seconds", type=float, default=1.5, help="of an excerpt")
    parser.add_argument("--batch", type=int, default=1, help="excerpts a step")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.batch < 1 or options.runs < 1 or options.workers < 0:
        parser.error("--seconds must be above 0, --batch and --runs at least 1, --workers at least 0")
    options.device = find_device(options.device)
    return options


if __name__ == "__main__":
    sys.exit(main())
