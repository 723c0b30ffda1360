"""One step of both networks over one or several batches, in one or several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from sepgan.training.devices import sum_gradients, sum_over_processes
from sepgan.training.task import Box, Made, Measured, Sizes, Task


class Stepper:
    """Takes steps of a task.

    The discriminator goes first, and the generator is judged by what it has become. Over several batches that needs
    each of them twice: all of them must have taught the discriminator before the first one is judged. One batch alone
    goes through the generator once.

    Args:
        task: What is trained.
        fabric: Devices and processes.
        optimiser: Of the generator.
        accumulate: Batches whose gradients are summed.
        clip_norm: Of the generator's gradient.
    """

    def __init__(
        self, task: Task, fabric: Fabric, optimiser: torch.optim.Optimizer, accumulate: int, clip_norm: float
    ) -> None:
        self.task = task
        self.fabric = fabric
        self.optimiser = optimiser
        self.accumulate = accumulate
        self.clip_norm = clip_norm

    def batches_at(self, step: int) -> int:
        """How many batches of the stream a step of this process takes."""
        return self.accumulate * self._updates_at(step)

    def _updates_at(self, step: int) -> int:
        box = self.task.adversary
        return box.updates_at(step) if box is not None and box.trains_at(step) else 1

    def gradients(self, batches: Sequence[Any], step: int) -> tuple[Measured, Measured]:
        """Let the discriminator step, and leave the generator's clipped gradients on its weights.

        Args:
            batches: As many as `batches_at` says.
            step: The current one.

        Returns:
            What was measured: parts that sum to a value over processes, and values that all processes share.
        """
        box = self.task.adversary
        trains = box is not None and box.trains_at(step)
        weight = box.weight_at(step) if box is not None else 0.0
        self.task.generator.train()
        parts: Measured = {}
        common: Measured = {}
        made: Made | None = None
        groups = _chunks(batches, self.accumulate)
        sizes, total = [Sizes(0, 0)], Sizes(0, 0)
        for group in groups:
            sizes = [self.task.sizes(batch) for batch in group]
            total = self._total(sizes)
            if box is None or not trains or total.judged == 0:
                continue
            parts, common, made = self._teach(box, group, sizes, total, keep=group is groups[-1] and len(group) == 1)
        self.optimiser.zero_grad(set_to_none=True)
        for batch, size in zip(groups[-1], sizes, strict=True):
            if made is None:
                made = self.task.make(batch, judged=weight > 0)
            loss, found = self._objective(made, size, total, weight, step)
            made = None
            _add(parts, found)
            if loss is not None:
                self.fabric.backward(loss)
        sum_gradients(self.fabric, self.task.generator)
        norm = self.fabric.clip_gradients(
            self.task.generator, self.optimiser, max_norm=self.clip_norm, error_if_nonfinite=False
        )
        assert norm is not None
        return parts, common | {"gradient_norm": norm.detach()}

    def _teach(
        self, box: Box, group: Sequence[Any], sizes: Sequence[Sizes], total: Sizes, keep: bool
    ) -> tuple[Measured, Measured, Made | None]:
        """One update of the discriminator; `keep` returns what the generator made, with its graph."""
        parts: Measured = {}
        made: Made | None = None
        box.begin()
        for batch, size in zip(group, sizes, strict=True):
            with torch.set_grad_enabled(keep):
                made = self.task.make(batch, judged=True)
            if made.evidence is not None:
                share = size.judged / total.judged
                _add(parts, {name: share * value for name, value in box.learn(made.evidence, share).items()})
        return parts, box.apply(), made if keep else None

    def _objective(
        self, made: Made, size: Sizes, total: Sizes, weight: float, step: int
    ) -> tuple[Tensor | None, Measured]:
        parts: Measured = {}
        loss: Tensor | None = None
        if made.reconstruction is not None and size.reconstructed:
            loss = (size.reconstructed / total.reconstructed) * made.reconstruction
            parts["reconstruction"] = loss.detach()
        if made.taught is not None:
            taught = (size.taught / total.taught) * made.taught
            loss = taught if loss is None else loss + taught
            parts["teacher"] = taught.detach()
        box = self.task.adversary
        if box is not None and weight > 0 and made.evidence is not None:
            share = size.judged / total.judged
            loss, found = box.objective(loss, made.evidence, made.output, share, step)
            parts |= {name: share * value for name, value in found.items()}
        return loss, parts

    def _total(self, sizes: Sequence[Sizes]) -> Sizes:
        mine = Sizes(*(sum(column) for column in zip(*sizes, strict=True)))
        if self.fabric.world_size == 1:
            return mine
        summed = sum_over_processes(self.fabric, torch.tensor(mine, device=self.fabric.device))
        return Sizes(*(int(value) for value in summed))


def _chunks(items: Sequence[Any], size: int) -> list[list[Any]]:
    def cut() -> Iterator[list[Any]]:
        remaining = iter(items)
        while chunk := list(islice(remaining, size)):
            yield chunk

    return list(cut())


def _add(total: Measured, part: Measured) -> None:
    for name, value in part.items():
        total[name] = total[name] + value if name in total else value
