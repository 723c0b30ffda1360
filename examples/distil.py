"""Teach a small network the masks of two larger ones: all stems of one, and of the other a second opinion on vocals.

    python examples/distil.py default --start start.safetensors --teacher wide.safetensors --second spleeter-2stems \
        --share 0.6 --data stems=DATA/stems --data ... --steps 1300 --out distilled.safetensors

Two networks that learnt from different songs err in different places, so the mean of their masks is better than either.
That mean is cheap to learn: it says what to do at every cell, of any music, where true stems say only what was played
(Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015). Excerpts are those of the recipe, with
its remixing; true stems are not looked at. The loss is the distance of masks, weighted by the mixture's magnitude.

Weights that begin as a finished network are fragile: the levels before the branches learn at a tenth of the rate and
less. (At a rate of 1.5e-4 for them the distance rose by half within 75 steps.)
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sepgan import recipe
from sepgan.cli_options import dataset_roots
from sepgan.errors import CheckpointError
from sepgan.separator import Separator
from sepgan.training.separation import SeparationTask
from sepgan.training.task import Part
from sepgan.training.trainer import open_run

AVERAGE = 0.99  # of the weights that are kept, from step to step
CLIP = 1.0


class Teachers(nn.Module):
    """The masks of a model, its share of one stem averaged with that of a second model.

    Args:
        first: Knows all stems.
        second: Knows `stem` among others; it must hear with the same front-end.
        stem: That both have an opinion on.
        share: Of the second model's opinion, from 0 to 1.

    Raises:
        CheckpointError: The two do not hear alike, or one does not know the stem.
    """

    def __init__(self, first: Separator, second: Separator, stem: str, share: float) -> None:
        super().__init__()
        if first.recipe.frontend != second.recipe.frontend or not {stem} <= {*first.stems} & {*second.stems}:
            raise CheckpointError(f"both teachers need the same front-end and a stem called '{stem}'")
        self.first, self.second = first.generator, second.generator
        self.own, self.others = first.stems.index(stem), second.stems.index(stem)
        self.share = share

    def forward(self, seen: Tensor) -> Tensor:
        """Magnitudes `[B, C, F, N]` to masks `[B, S, C, F, N]` that sum to one."""
        masks: Tensor = self.first(seen).clone()
        agreed = torch.lerp(masks[:, self.own], self.second(seen)[:, self.others], self.share)
        left = (1 - agreed) / (1 - masks[:, self.own]).clamp_min(1e-4)  # the other stems share what is left
        masks *= left.unsqueeze(1)
        masks[:, self.own] = agreed
        masks /= masks.sum(1, keepdim=True).clamp_min(1e-6)
        return masks


def distance(masks: Tensor, wanted: Tensor, seen: Tensor) -> Tensor:
    """Share of the mixture's magnitude that lies in another stem than wanted, summed over stems, mean over items."""
    errors = ((masks - wanted).abs() * seen.unsqueeze(1)).sum((1, 2, 3, 4))
    return (errors / seen.sum((1, 2, 3)).clamp_min(1e-3)).mean()


def parameters(student: nn.Module, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Groups of weights with a learning rate each."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weights in student.named_parameters():
        rates = {"heads": options.heads_rate, "branches": options.branches_rate}
        groups.setdefault(rates.get(name.split(".")[0], options.rate), []).append(weights)
    return [{"params": weights, "lr": rate} for rate, weights in groups.items()]


def distil(task: SeparationTask, teachers: Teachers, options: argparse.Namespace) -> Iterator[float]:
    """Train the task's network, keep the mean of its weights in `task.average`, and tell the distance of each step."""
    student, average = task.separator.generator, task.average
    optimiser = torch.optim.Adam(parameters(student, options), betas=(0.9, 0.99))
    first_rates = [group["lr"] for group in optimiser.param_groups]
    batches = task.batches(Part(0, task.config.train.batch_size, 0, 1, None))
    for step in range(options.steps):
        factor = min(1.0, (step + 1) / 30) * (0.501 + 0.499 * math.cos(math.pi * step / options.steps))
        for group, rate in zip(optimiser.param_groups, first_rates, strict=True):
            group["lr"] = rate * factor
        with torch.no_grad():
            seen = task.separator.seen(task.separator.stft(next(batches).mixture))
            wanted = teachers(seen)
        loss = distance(student(seen), wanted, seen)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), CLIP)
        optimiser.step()
        with torch.no_grad():
            for kept, weights in zip(average.parameters(), student.parameters(), strict=True):
                kept.lerp_(weights, 1 - min(AVERAGE, (step + 1) / (step + 10)))
        yield float(loss.detach())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="names the network, the front-end and the songs")
    parser.add_argument("--start", required=True, help="weights that the network begins with")
    parser.add_argument("--teacher", required=True, help="model that knows all stems")
    parser.add_argument("--second", default="spleeter-2stems", help="model with a second opinion on --stem")
    parser.add_argument("--stem", default="vocals")
    parser.add_argument("--share", type=float, default=0.6, help="how much the second opinion counts")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--heads-rate", type=float, default=8e-4)
    parser.add_argument("--branches-rate", type=float, default=2.5e-4)
    parser.add_argument("--rate", type=float, default=3e-5, help="learning rate of all other weights")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes the recipe")
    parser.add_argument("--out", type=Path, required=True, help="model to write, .safetensors")
    options = parser.parse_args(arguments)
    config = recipe.load(options.recipe, [f"train.fine_tune={options.start}", *options.set])
    config = config.model_copy(update={"teacher": None})
    task = open_run(
        config, options.out.parent / f"{options.out.stem}-run", dataset_roots(options.data), device="cpu"
    ).task
    assert isinstance(task, SeparationTask)
    models = [Separator.load(name).requires_grad_(False).eval() for name in (options.teacher, options.second)]
    teachers = Teachers(models[0], models[1], options.stem, options.share)
    began, told = time.monotonic(), 0.0
    for step, found in enumerate(distil(task, teachers, options), start=1):
        told += (found - told) / min(step, 25)
        if step % 25 == 0:
            left_s = (time.monotonic() - began) / step * (options.steps - step)
            print(f"step {step} of {options.steps}: distance {told:.3f}, {left_s:.0f} s left", flush=True)
    for model in models:
        assert model.header is not None
        marks = {"taught_by": model.header.name, "weights": model.header.licence}
        own = {"title": "the teacher itself", "licence": model.header.licence, "sha256": model.header.sha256}
        task.inherited += [marks | entry for entry in (own, *model.header.training_data)]
    task.write(options.out.with_suffix(""), options.steps, time.monotonic() - began, {})
    print(f"model: {options.out}; distance of masks {told:.3f} (mean of about 25 steps)")


if __name__ == "__main__":
    main()
