"""The smallest task with two networks: points in a plane, drawn by number, that a generator learns to shift."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sepgan.checkpoint import write_tensors
from sepgan.recipe import TrainRecipe
from sepgan.training.devices import start, sum_gradients
from sepgan.training.loop import Loop
from sepgan.training.requests import Requests
from sepgan.training.task import Made, Measured, Part, Sizes, Validation


class Points(NamedTuple):
    """Inputs and what they should become."""

    inputs: Tensor  # [B, 2]
    wanted: Tensor  # [B, 2]
    judged: Tensor  # [B], whether the discriminator sees it: so shares differ from batch to batch


def draw(number: int) -> Points:
    """Example `number`: shifted by (1, -1)."""
    inputs = torch.randn(2, generator=torch.Generator().manual_seed(number))
    return Points(inputs, inputs + torch.tensor([1.0, -1.0]), torch.tensor(number % 4 > 0))


class PointBox:
    """Least squares on points."""

    generator_rate_scale = 1.0

    def __init__(self, fabric: Fabric, weight: float, updates: int = 1, coupled: Sequence[str] = ()) -> None:
        self.fabric = fabric
        self.weight = weight
        self.updates = updates
        self.coupled = coupled
        network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.discriminator: nn.Module = fabric.setup_module(network)
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=1e-2)
        self.applied = 0

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"discriminator": self.discriminator}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"discriminator": self.optimiser}

    def trains_at(self, step: int) -> bool:
        return self.weight > 0

    def weight_at(self, step: int) -> float:
        return self.weight

    def updates_at(self, step: int) -> int:
        return self.updates

    def begin(self) -> None:
        self.discriminator.requires_grad_(True)
        self.optimiser.zero_grad(set_to_none=True)

    def learn(self, evidence: tuple[Tensor, Tensor, Tensor], share: float) -> Measured:
        inputs, real, fake = evidence
        self.discriminator.requires_grad_(True)
        loss = (self._judge(inputs, real) - 1).square().mean() + self._judge(inputs, fake.detach()).square().mean()
        self.fabric.backward(share * loss)
        return {"discriminator_loss": loss.detach()}

    def apply(self) -> Measured:
        sum_gradients(self.fabric, self.discriminator)
        norm = self.fabric.clip_gradients(self.discriminator, self.optimiser, max_norm=1e3, error_if_nonfinite=False)
        assert norm is not None
        self.optimiser.step()
        self.applied += 1
        return {"discriminator_gradient_norm": norm.detach()}

    def objective(
        self,
        reconstruction: Tensor | None,
        evidence: tuple[Tensor, Tensor, Tensor],
        output: Tensor,
        share: float,
        step: int,
    ) -> tuple[Tensor, Measured]:
        assert reconstruction is not None
        inputs, _, fake = evidence
        self.discriminator.requires_grad_(False)
        adversarial = (self._judge(inputs, fake) - 1).square().mean()
        return reconstruction + self.weight * share * adversarial, {"adversarial": adversarial.detach()}

    def _judge(self, inputs: Tensor, points: Tensor) -> Tensor:
        scores: Tensor = self.discriminator(torch.cat([inputs, points], 1))
        return scores

    def after_step(self, step: int, generator: nn.Module) -> None:
        pass

    def couplings(self) -> Sequence[str]:
        return self.coupled

    def state_dict(self) -> dict[str, Any]:
        return {"applied": self.applied}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.applied = state["applied"]


class PointTask:
    """Shift points.

    Args:
        fabric: Devices.
        weight: Of the adversary; None: there is none.
        updates: Of the discriminator, in each step.
        dropout: In the generator.
        spoil: Numbers of examples that are no numbers.
        scores: What validations say, one after the other; then the error.
        coupled: What the adversary says ties examples together.
    """

    name = "points"
    couplings: Sequence[str] = ()

    def __init__(
        self,
        fabric: Fabric,
        *,
        weight: float | None = 0.5,
        updates: int = 1,
        dropout: float = 0.0,
        spoil: Sequence[int] = (),
        scores: Sequence[float] = (),
        coupled: Sequence[str] = (),
    ) -> None:
        torch.manual_seed(0)
        self.fabric = fabric
        self.recipe: dict[str, Any] = {"weight": weight}
        network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 2))
        self.average: nn.Module = copy.deepcopy(network).eval()
        self.generator: nn.Module = fabric.setup_module(network)
        self.adversary = None if weight is None else PointBox(fabric, weight, updates, coupled)
        self.spoil = spoil
        self.scores = list(scores)
        self.seen: list[int] = []
        self.written: list[tuple[str, int]] = []

    def batches(self, part: Part) -> Iterator[Points]:
        for numbers in part.indices():
            self.seen += numbers
            batch = Points(*(torch.stack(values) for values in zip(*map(draw, numbers), strict=True)))
            yield batch._replace(inputs=batch.inputs * torch.nan) if set(numbers) & set(self.spoil) else batch

    def sizes(self, batch: Points) -> Sizes:
        return Sizes(len(batch.inputs), int(batch.judged.sum()))

    def make(self, batch: Points, *, judged: bool) -> Made:
        output = self.generator(batch.inputs)
        mask = batch.judged
        evidence = (batch.inputs[mask], batch.wanted[mask], output[mask]) if judged and bool(mask.any()) else None
        return Made(output, (output - batch.wanted).square().mean(), evidence)

    def validate(self, step: int) -> Validation | None:
        if self.scores:
            score = self.scores.pop(0)
            return Validation(score, {"score": score})
        batch = [draw(10**6 + number) for number in range(32)]
        with torch.no_grad():
            made = self.average(torch.stack([point.inputs for point in batch]))
        error = float((made - torch.stack([point.wanted for point in batch])).square().mean())
        return Validation(-error, {"error": error})

    def write(self, path: Path, step: int, seconds: float, scores: Mapping[str, float]) -> None:
        self.written.append((path.name, step))
        write_tensors(self.model_path(path), self.average.state_dict(), {"step": str(step)})

    def model_path(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.safetensors")

    def finish(self, folder: Path) -> None:
        (folder / "finished").write_text("yes")

    def comparable(self, recipe: Mapping[str, Any]) -> Any:
        return recipe


def config(**keys: Any) -> TrainRecipe:
    """Short steps, nothing but them."""
    plain = {
        "steps": 20,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "schedule": "constant",
        "clip_norm": 1e3,
        "log_every": 1,
        "validate_every": 10,
        "save_every": 5,
    }
    return TrainRecipe.model_validate(plain | keys)


def open_loop(
    out: Path, task: PointTask | None = None, *, requests: Requests | None = None, progress: Any = None, **keys: Any
) -> Loop:
    """A run on this machine's CPU, or on the processes that torchrun started."""
    fabric = start("cpu", "32-true") if task is None else task.fabric
    task = task or PointTask(fabric)
    return Loop(task, fabric, config(**keys), seed=0, out=out, requests=requests, progress=progress)


def make_task(**keys: Any) -> PointTask:
    """A task on one process."""
    return PointTask(start("cpu", "32-true"), **keys)
