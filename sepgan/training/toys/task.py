"""A toy as a task of the training loop."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sepgan import checkpoint
from sepgan.errors import RecipeError
from sepgan.models.judgement import Surroundings
from sepgan.models.noise import sample_noise
from sepgan.models.points import PointGenerator
from sepgan.recipe import Recipe, to_dict
from sepgan.training.adversary import Adversary, Judged
from sepgan.training.task import Made, Part, Sizes, Validation
from sepgan.training.toys.games import GAMES, counted_uniform
from sepgan.training.toys.pictures import draw

VALIDATION_SEED = 20_000  # noise that the error is measured on, the same each time


class ToyTask:
    """Noise in, points out, and nothing but an adversary to say what they ought to be.

    Args:
        recipe: One with a section `toy`.
        fabric: Devices and precision.

    Raises:
        RecipeError: The adversary is switched off, or is none for points.
    """

    couplings: Sequence[str] = ()

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        assert recipe.toy is not None, "a recipe without `toy` is one for music"
        if recipe.adversary.weight == 0:
            raise RecipeError(
                f"recipe '{recipe.name}' is a toy and learns from its adversary alone: set adversary.weight"
            )
        self.name = recipe.name
        self.recipe = to_dict(recipe)
        self.toy = recipe.toy
        self.seed = recipe.seed
        self.fabric = fabric
        self.game = GAMES[recipe.toy.kind](recipe.toy)
        network = PointGenerator(recipe.toy.noise.dimensions, recipe.toy.widths, self.game.dimensions)
        self.average: nn.Module = copy.deepcopy(network).to(fabric.device).eval()
        self.generator: nn.Module = fabric.setup_module(network)
        self.adversary = Adversary(recipe.adversary, Surroundings(1, 1, dimensions=self.game.dimensions), fabric)

    def batches(self, part: Part) -> Iterator[Tensor]:
        """Real examples `[P, dimensions]`."""
        for numbers in part.indices():
            uniform = counted_uniform(self.seed, np.asarray(numbers, dtype=np.uint64), self.game.draws)
            yield self.game.real(uniform).to(self.fabric.device)

    def sizes(self, batch: Tensor) -> Sizes:
        """All examples are judged, none is reconstructed."""
        return Sizes(0, len(batch))

    def make(self, batch: Tensor, *, judged: bool) -> Made:
        """Turn fresh noise into as many points as there are real ones."""
        noise = sample_noise(self.toy.noise, (len(batch), self.toy.noise.dimensions)).to(batch.device)
        points = self.game.generated(self.generator(noise).float())
        return Made(points, None, {"vector": Judged(None, batch, points, None, paired=False)})

    def draw_points(self, network: nn.Module) -> Tensor:
        """Points of a generator from noise that is always the same, `[samples, dimensions]`."""
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        noise = sample_noise(self.toy.noise, (self.toy.samples, self.toy.noise.dimensions), generator)
        with torch.no_grad():
            return self.game.generated(network(noise.to(self.fabric.device))).cpu()

    def validate(self, step: int) -> Validation:
        """Its own error: how far the points are from those wanted."""
        measured = self.game.measure(self.draw_points(self.average))
        return Validation(-measured["error"], measured)

    def write(self, path: Path, step: int, seconds: float, scores: Mapping[str, float]) -> None:
        """Write the averaged generator with its recipe."""
        about = {"toy": self.recipe, "step": step, "scores": dict(scores)}
        weights = {name: value.contiguous() for name, value in self.average.state_dict().items()}
        checkpoint.write_tensors(self.model_path(path), weights, {"sepgan": json.dumps(about)})

    def model_path(self, path: Path) -> Path:
        """The file of the generator."""
        return path.with_name(path.name + checkpoint.SUFFIX)

    def finish(self, folder: Path) -> None:
        """Draw the samples of the best generator so far."""
        if not self.toy.picture:
            return
        best = self.model_path(folder / "best")
        network = copy.deepcopy(self.average)
        if best.is_file():
            network.load_state_dict(checkpoint.read_tensors(best)[1])
        draw(self.game, self.draw_points(network), self.name, folder / "samples.png")

    def comparable(self, recipe: Mapping[str, Any]) -> Any:
        """All but the length of a run and how often it reports."""
        free = {"steps", "log_every", "save_every", "validate_every", "keep_states", "patience", "rollbacks"}
        training = {key: value for key, value in recipe.get("train", {}).items() if key not in free}
        return dict(recipe) | {"train": training}
