"""What a training loop needs to know of the thing it trains.

A `Task` says what is trained: where batches come from, what the generator makes of one, how good it is, and how it is
written down. A `Box` is its adversary: a discriminator with its optimiser. The loop (`sepgan.training.loop`) does the
rest and knows neither audio nor points.

Losses are means over examples. A step's examples may be spread over several batches and processes, so each part counts
by its share of all of them: `sizes` tells the loop how many examples a batch holds, and the loop hands back shares that
sum to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

Measured = dict[str, Tensor]
"""Detached scalars by name. They stay on the device: turning each into a number would make it wait."""


class Sizes(NamedTuple):
    """How many examples of a batch each loss averages."""

    reconstructed: int  # 0: this batch holds nothing to compare with
    judged: int  # 0: this batch holds nothing for the discriminator
    taught: int = 0  # 0: a teacher has no say in this batch


class Made(NamedTuple):
    """What the generator made of one batch."""

    output: Tensor  # where all losses meet, for those that weigh gradients there
    reconstruction: Tensor | None  # mean over the batch's reconstructed examples; None: there is no such loss
    evidence: Any  # real and generated examples for the discriminators; None: none in this batch
    taught: Tensor | None = None  # weighted mean distance from a teacher over the taught examples; None: there is none


class Validation(NamedTuple):
    """How good the averaged generator is."""

    score: float  # higher is better; NaN: nothing could be scored
    values: Mapping[str, float]  # everything measured, by the name it is logged under


class Part(NamedTuple):
    """Which examples of an endless stream one process takes, batch by batch.

    Processes take turns: batch `i` of process `rank` holds the examples from `first + (i * world + rank) * batch_size`
    on, so that the examples of a step do not depend on how it is split up.
    """

    first: int
    batch_size: int
    rank: int = 0
    world: int = 1
    repeat: int | None = None  # only the first so many examples, over and over

    def indices(self) -> Iterator[list[int]]:
        """Numbers of the examples of each batch, without end.

        >>> from itertools import islice
        >>> list(islice(Part(first=8, batch_size=2, rank=1, world=2).indices(), 2))
        [[10, 11], [14, 15]]
        """
        for start in count(self.first + self.rank * self.batch_size, self.world * self.batch_size):
            numbers = range(start, start + self.batch_size)
            yield [number % self.repeat for number in numbers] if self.repeat else list(numbers)


class Box(Protocol):
    """An adversary: discriminators and optimisers. An update is `begin`, any number of `learn`, `apply`."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Discriminators by name."""

    @property
    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Their optimisers."""

    @property
    def generator_rate_scale(self) -> float:
        """What the generator's learning rate is multiplied by: 1 without a controller."""

    def trains_at(self, step: int) -> bool:
        """Whether it takes part in this step at all."""

    def weight_at(self, step: int) -> float:
        """How much it counts in the generator's loss; 0: it does not, and `objective` is not called."""

    def updates_at(self, step: int) -> int:
        """Updates of the discriminator in this step, each on examples of its own; the generator gets the last ones."""

    def begin(self) -> None:
        """Forget gradients."""

    def learn(self, evidence: Any, share: float) -> Measured:
        """Add the gradient of `share` times the discriminator's loss on detached estimates."""

    def apply(self) -> Measured:
        """Sum gradients over processes, clip them and take the step; returns at least `discriminator_gradient_norm`."""

    def objective(
        self, reconstruction: Tensor | None, evidence: Any, output: Tensor, share: float, step: int
    ) -> tuple[Tensor, Measured]:
        """Return what the generator minimises; no gradient may reach the discriminator.

        Args:
            reconstruction: Already multiplied by its own share.
            evidence: As `Made.evidence`, with gradients.
            output: As `Made.output`.
            share: Of the adversarial part.
            step: The current one.
        """

    def after_step(self, step: int, generator: nn.Module) -> None:
        """Called when both networks have stepped."""

    def couplings(self) -> Sequence[str]:
        """Names of what ties examples of a batch together, so that splitting a batch changes the result."""

    def state_dict(self) -> dict[str, Any]:
        """Whatever else must survive a stop, as plain JSON-able data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""


class Task(Protocol):
    """What is trained."""

    name: str
    recipe: dict[str, Any]  # plain data, stored with the state: another recipe cannot go on from it
    generator: nn.Module  # set up by Fabric; its parameters are what the loop optimises
    average: nn.Module  # a copy of the network inside `generator` that the loop averages weights into

    @property
    def adversary(self) -> Box | None:
        """None: there is none, and the reconstruction is all."""

    @property
    def couplings(self) -> Sequence[str]:
        """What in the generator ties examples of a batch together."""

    def batches(self, part: Part) -> Iterator[Any]:
        """Batches of the stream on the right device. An example depends on the seed and its number alone."""

    def sizes(self, batch: Any) -> Sizes:
        """How many examples of the batch each loss averages."""

    def make(self, batch: Any, *, judged: bool) -> Made:
        """Run the generator.

        Args:
            batch: From `batches`.
            judged: Whether the discriminator takes part; otherwise nothing need be prepared for it.
        """

    def validate(self, step: int) -> Validation | None:
        """Score `average`; None when the task has nothing to validate on. Called on the first process only."""

    def write(self, path: Path, step: int, seconds: float, scores: Mapping[str, float]) -> None:
        """Write `average` as a model, atomically.

        Args:
            path: Without a suffix, such as `RUN/best`; the task knows its own.
            step: It was trained for.
            seconds: It was trained for, on the clock.
            scores: Of the last validation.
        """

    def model_path(self, path: Path) -> Path:
        """The file that `write` makes for this path."""

    def finish(self, folder: Path) -> None:
        """Called after each validation has been logged, on the first process, for reports and pictures."""

    def comparable(self, recipe: Mapping[str, Any]) -> Any:
        """What of a recipe must be equal for a run to go on."""
