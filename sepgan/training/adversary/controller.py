"""A regulator of the generator's learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sepgan.recipe.adversary import ControllerRecipe


class Controller:
    """Count how often generated stems pass for real, and turn the generator's learning rate up or down.

    A false positive is a generated example that the discriminator judges real. After each window their share is looked
    at: below the band the discriminator is far ahead, and the rate falls so that the generator does not run after a
    gradient that says little; above the band the discriminator is fooled, and the rate rises. Inside the band nothing
    changes. The direction is that of the texts this idea is taken from; others, such as adaptive augmentation (Karras
    et al., NeurIPS 2020), hold the discriminator back instead.

    Args:
        config: Window, band and bounds. Switched off, the scale stays 1.
    """

    def __init__(self, config: ControllerRecipe) -> None:
        self.config = config
        self.scale = 1.0
        self.positives = 0.0
        self.seen = 0

    def observe(self, false_positives: float) -> float:
        """Take note of the share of one step and return the scale of the generator's learning rate."""
        if not self.config.enabled:
            return self.scale
        self.positives += false_positives
        self.seen += 1
        if self.seen >= self.config.window:
            share = self.positives / self.seen
            if share < self.config.low:
                self.scale = max(self.config.floor, self.scale * self.config.factor)
            elif share > self.config.high:
                self.scale = min(self.config.ceiling, self.scale / self.config.factor)
            self.positives, self.seen = 0.0, 0
        return self.scale

    def state_dict(self) -> dict[str, float]:
        """Where it stands, as plain numbers."""
        return {"scale": self.scale, "positives": self.positives, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.scale, self.positives, self.seen = float(state["scale"]), float(state["positives"]), int(state["seen"])
