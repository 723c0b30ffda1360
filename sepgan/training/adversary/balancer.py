"""Shares of the gradient: each loss pulls at the generator's output as hard as its weight says, whatever its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

TINY = 1e-12

Reduce = Callable[[Tensor], Tensor]


class Balancer:
    """Rescale the gradients of several losses at one tensor to fixed shares.

    Défossez et al., "High fidelity neural audio compression" (2022), section 3.4: with `g_i` the gradient of loss i at
    the output and `n_i` the exponential mean of its norm, the output receives `sum_i w_i / (sum_j w_j) * g_i / n_i`.
    Norms are taken an item at a time and averaged over the batch, so that a loud item does not speak for all.

    Args:
        decay: Of the exponential means; they are corrected for their start at zero.
        reduce: Mean over the processes of a distributed run.
    """

    def __init__(self, decay: float, reduce: Reduce | None = None) -> None:
        self.decay = decay
        self.reduce = reduce
        self.sums: dict[str, float] = {}
        self.counts: dict[str, float] = {}

    def combine(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], at: Tensor) -> Tensor:
        """Return one number whose gradient at `at` is the balanced one.

        Args:
            losses: Scalars computed from `at`; one that does not depend on it adds nothing.
            weights: Their shares, by the same names; those of weight 0 are left out.
            at: The generator's output, `[B, ...]`, part of the graph.
        """
        used = {name: loss for name, loss in losses.items() if weights.get(name, 0.0) > 0}
        total = sum(weights[name] for name in used)
        combined = torch.zeros_like(at)
        for name, loss in used.items():
            gradient: Tensor | None = torch.autograd.grad(loss, at, retain_graph=True, allow_unused=True)[0]
            if gradient is None:  # as of a loss that does not depend on the output
                continue
            norm = gradient.detach().flatten(1).norm(dim=1).mean()
            combined += weights[name] / total / max(self._mean(name, norm), TINY) * gradient
        return (at * combined.detach()).sum()

    def _mean(self, name: str, norm: Tensor) -> float:
        value = float(self.reduce(norm) if self.reduce else norm)
        self.sums[name] = self.decay * self.sums.get(name, 0.0) + value
        self.counts[name] = self.decay * self.counts.get(name, 0.0) + 1.0
        return self.sums[name] / self.counts[name]

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The exponential means, as plain numbers."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Take over what `state_dict` returned."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
