"""From a recipe to a trained model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from sepgan.recipe import Recipe
from sepgan.training import state
from sepgan.training.devices import start
from sepgan.training.loop import Loop, Progress, make_folder
from sepgan.training.requests import Requests
from sepgan.training.separation import SeparationTask
from sepgan.training.task import Task
from sepgan.training.toys import ToyTask

logger = logging.getLogger(__name__)


def open_run(
    recipe: Recipe,
    out: Path,
    roots: Mapping[str, Path],
    *,
    device: str = "auto",
    progress: Progress | None = None,
    requests: Requests | None = None,
) -> Loop:
    """Return a run of a recipe, ready to start; arguments and errors are those of `train`."""
    make_folder(out)
    fabric = start(device, recipe.train.precision)
    torch.manual_seed(recipe.seed)  # of the first weights, equal on all processes
    task: Task = ToyTask(recipe, fabric) if recipe.toy else SeparationTask(recipe, fabric, out, roots)
    return Loop(task, fabric, recipe.train, seed=recipe.seed, out=out, progress=progress, requests=requests)


def train(
    recipe: Recipe,
    out: Path,
    roots: Mapping[str, Path],
    *,
    resume: bool = True,
    device: str = "auto",
    progress: Progress | None = None,
    requests: Requests | None = None,
) -> Path:
    """Train a recipe and return the path of the best checkpoint.

    Args:
        recipe: What to train.
        out: Folder of the run: `best.safetensors`, `last.safetensors`, the newest states, `train.jsonl`, TensorBoard.
        roots: Dataset folders by the names that `--data NAME=PATH` gave them.
        resume: Go on from the newest state in `out` where there is one.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: Called after each logged step with step, steps and measurements.
        requests: Who else may ask the run to stop or to save.

    Raises:
        CheckpointError: A state or model to go on from is damaged or of another recipe.
        DatasetError: A dataset is absent or empty.
        OutputError: Something cannot be written.
        RecipeError: The recipe contradicts itself or its data.
        SepganError: The run diverges.
    """
    loop = open_run(recipe, out, roots, device=device, progress=progress, requests=requests)
    if resume and loop.resume():
        logger.info("resumed at step %d of %d", loop.step, recipe.train.steps)
    elif loop.fabric.is_global_zero:
        state.rotate(out, 0)  # of an earlier run, which this one replaces
    return loop.fit()
