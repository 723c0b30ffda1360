"""The learning rate, and when to stop: what follows from the step and from the scores so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sepgan.recipe import TrainRecipe


class Schedule:
    """Warm-up, then a cosine, a constant, or a rate that falls when validation does not improve.

    Args:
        config: Which one, and its numbers.
    """

    def __init__(self, config: TrainRecipe) -> None:
        self.config = config
        self.best = -math.inf
        self.stale = 0  # validations since the best one
        self.waited = 0  # validations since the best one or the last fall of the rate
        self.fallen = 1.0  # what the rate has been multiplied by on plateaus
        self.backed_off = 1.0  # and after divergence

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        config = self.config
        return self.backed_off * (
            config.learning_rate * (step + 1) / config.warmup_steps
            if step < config.warmup_steps
            else self._after_warmup(step)
        )

    def _after_warmup(self, step: int) -> float:
        config = self.config
        if config.schedule == "constant":
            return config.learning_rate
        if config.schedule == "plateau":
            lowest = min(config.final_learning_rate, config.learning_rate)
            return max(lowest, config.learning_rate * self.fallen)
        share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        span = config.learning_rate - config.final_learning_rate
        return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def observe(self, score: float) -> bool:
        """Take note of a validation, higher is better; whether it is the best so far."""
        if score > self.best:  # false for NaN
            self.best, self.stale, self.waited = score, 0, 0
            return True
        self.stale += 1
        self.waited += 1
        if self.waited >= self.config.plateau_patience:
            self.fallen *= self.config.plateau_factor
            self.waited = 0
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.config.patience is not None and self.stale >= self.config.patience

    def state(self) -> dict[str, Any]:
        """What must survive a stop."""
        return {
            "best": self.best if math.isfinite(self.best) else None,
            "stale": self.stale,
            "waited": self.waited,
            "fallen": self.fallen,
            "backed_off": self.backed_off,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.best = -math.inf if state["best"] is None else state["best"]
        self.stale, self.waited = state["stale"], state["waited"]
        self.fallen, self.backed_off = state["fallen"], state["backed_off"]
