"""Run by torchrun: gradients of both networks and the weights after some steps, written by the first process."""

import sys
from pathlib import Path

import torch

from sepgan.training.devices import start
from tests.training.points import PointTask, open_loop


def main(out: Path) -> None:
    """Take the first gradients of one run, and all steps of another."""
    fabric = start("cpu", "32-true")
    loop = open_loop(out / "gradients", PointTask(fabric), batch_size=6)
    stream = loop._stream()
    loop.stepper.gradients([next(stream)], 0)
    gradients = {
        f"{network}/{name}": weight.grad
        for network, module in loop._modules.items()
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }
    task = PointTask(fabric, dropout=0.0)
    open_loop(out / "run", task, batch_size=2, accumulate=2, steps=10).fit()
    if fabric.is_global_zero:
        torch.save({"gradients": gradients, "weights": task.average.state_dict(), "seen": task.seen}, out / "found.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
