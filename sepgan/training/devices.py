"""Devices and processes: one here, or as many as `torchrun` started."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from sepgan.errors import UsageError
from sepgan.recipe.training import Precision


class SummedGradients(DDPStrategy):
    """Processes whose gradients the loop sums itself, once a step.

    PyTorch's wrapper sums them while it goes backward. It expects one forward pass for each backward pass, and all
    gradients in each; a discriminator that is looked at twice, and then without gradients of its own, breaks both.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Leave the network as it is."""
        return module


def start(device: str, precision: Precision) -> Fabric:
    """Return Fabric, ready to use, for one process or for those that `torchrun` started.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        precision: Of the networks.

    Raises:
        UsageError: A device is numbered although `torchrun` gives each process its own.
    """
    kind, _, number = device.partition(":")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "LOCAL_WORLD_SIZE" not in os.environ:
        fabric = Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=precision)
        fabric.launch()
        return fabric
    if number:
        raise UsageError(f"device '{device}' has a number: torchrun gives each process its own, use --device {kind}")
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(
        accelerator=kind, devices=here, num_nodes=world // here, strategy=SummedGradients(), precision=precision
    )
    fabric.launch()
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    """End the group while its threads can still be waited for; at the end of Python they abort the process at times."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def sum_gradients(fabric: Fabric, module: nn.Module) -> None:
    """Sum the gradients of all processes; those of a process that saw nothing count as zero."""
    if fabric.world_size == 1:
        return
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    flat = torch.cat(
        [(torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten() for weight in weights]
    )
    flat = sum_over_processes(fabric, flat)
    for weight, gradient in zip(weights, torch.split(flat, [weight.numel() for weight in weights]), strict=True):
        weight.grad = gradient.view_as(weight)


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Element by element."""
    if fabric.world_size == 1:
        return values
    summed = fabric.all_reduce(values, reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed


def sum_by_name(fabric: Fabric, values: Mapping[str, float]) -> dict[str, float]:
    """Sum numbers that not every process need have measured."""
    total: dict[str, float] = {}
    for part in gather(fabric, dict(values)):
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values
