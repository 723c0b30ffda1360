"""The two toys: what is real, what a generator's output means, and how far it is from real."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from sepgan.recipe.toy import ToyRecipe

SPAN = 50.0  # of x, from 0
BASE = 1.08
NUMBERS = 100  # a sequence holds numbers from 0 to 99

# Bounds that a trained generator must keep to; the cheats they stop are in docs/adversary.md.
CURVE_SQUARED_ERROR = 4.0  # mean square of y - f(x); y runs to 47
CURVE_COVER = 2.5  # distance of the distributions of x, a twentieth of its range
MULTIPLES_RATE = 0.9  # share of numbers that are multiples; one in five by chance
MULTIPLES_SEEN = 0.75  # of the different multiples, 15 of the 20 of five


class Game(Protocol):
    """One toy."""

    dimensions: int  # of an example as networks see it

    def real(self, uniform: Tensor) -> Tensor:
        """Examples `[P, dimensions]` from numbers between 0 and 1, `[P, draws]`."""

    def generated(self, output: Tensor) -> Tensor:
        """What the discriminator sees of a generator's output, with gradients, `[P, dimensions]`."""

    def measure(self, points: Tensor) -> dict[str, float]:
        """Errors of generated examples `[P, dimensions]`; `error` sums them in units of their bounds."""

    def passes(self, measured: Mapping[str, float]) -> bool:
        """Whether errors keep to the bounds."""


class Curve:
    """Points (x, f(x)) with x uniform from 0 to 50, scaled to about -1 .. 1 for the networks.

    Args:
        config: Names the function: `1.08^x`, or `25 + 20 sin(2 pi x / 50)`.
    """

    dimensions = 2
    draws = 1

    def __init__(self, config: ToyRecipe) -> None:
        self.function = config.function

    def values(self, x: Tensor) -> Tensor:
        """f(x)."""
        if self.function == "exponential":
            return torch.exp(x * math.log(BASE))
        return 25.0 + 20.0 * torch.sin(2 * math.pi * x / SPAN)

    def real(self, uniform: Tensor) -> Tensor:
        """Points of the curve."""
        x = SPAN * uniform
        return torch.cat([x, self.values(x)], dim=1) * (2 / SPAN) - 1

    def generated(self, output: Tensor) -> Tensor:
        """The output itself."""
        return output

    def unscale(self, points: Tensor) -> Tensor:
        """Points in the units of the curve."""
        return (points.detach().double() + 1) * (SPAN / 2)

    def measure(self, points: Tensor) -> dict[str, float]:
        """Mean squared error of y at the generated x, and the earth mover's distance of x from uniform.

        In one dimension that distance is the mean distance of sorted values. It is at least a quarter of the range,
        12.5, for one repeated point, whichever it is.
        """
        x, y = self.unscale(points).unbind(1)
        squared = float((y - self.values(x)).square().mean())
        even = (torch.arange(len(x), dtype=torch.float64) + 0.5) * SPAN / len(x)
        cover = float((x.sort().values - even).abs().mean())
        error = math.sqrt(squared / CURVE_SQUARED_ERROR) + cover / CURVE_COVER
        return {"squared_error": squared, "cover": cover, "error": error}

    def passes(self, measured: Mapping[str, float]) -> bool:
        """Both bounds."""
        return measured["squared_error"] <= CURVE_SQUARED_ERROR and measured["cover"] <= CURVE_COVER


class Multiples:
    """Sequences of multiples between 0 and 99, each number drawn by itself, as one-hot vectors.

    A generator that gave soft vectors would be found out by their softness alone. It therefore chooses, and its
    gradient is that of the soft choice (the straight-through estimator, Bengio et al. 2013).

    Args:
        config: The multiple and the length.
    """

    def __init__(self, config: ToyRecipe) -> None:
        self.multiple = config.multiple
        self.length = config.length
        self.draws = config.length
        self.dimensions = config.length * NUMBERS
        self.values = torch.arange(0, NUMBERS, config.multiple)

    def real(self, uniform: Tensor) -> Tensor:
        """Sequences of multiples."""
        chosen = self.values[(uniform * len(self.values)).long().clamp_max(len(self.values) - 1)]
        return one_hot(chosen, NUMBERS).float().flatten(1)

    def generated(self, output: Tensor) -> Tensor:
        """The likeliest number at each place, one-hot."""
        soft = output.reshape(-1, self.length, NUMBERS).softmax(2)
        hard = one_hot(soft.argmax(2), NUMBERS).to(soft.dtype)
        chosen: Tensor = hard + soft - soft.detach()
        return chosen.flatten(1)

    def numbers(self, points: Tensor) -> Tensor:
        """Sequences as whole numbers, `[P, length]`."""
        return points.detach().reshape(-1, self.length, NUMBERS).argmax(2)

    def measure(self, points: Tensor) -> dict[str, float]:
        """Share of multiples, and how many of the different ones occur, in at least one number of a thousand.

        All zeros have a share of 1 and one value of many.
        """
        numbers = self.numbers(points).flatten()
        rate = float((numbers % self.multiple == 0).double().mean())
        counts = numbers.bincount(minlength=NUMBERS)[self.values]
        seen = int((counts >= max(1, len(numbers) // 1000)).sum())
        missing = max(0.0, MULTIPLES_SEEN - seen / len(self.values))
        error = (1 - rate) / (1 - MULTIPLES_RATE) + missing / (1 - MULTIPLES_SEEN)
        return {"rate": rate, "seen": float(seen), "error": error}

    def passes(self, measured: Mapping[str, float]) -> bool:
        """Both bounds."""
        return measured["rate"] >= MULTIPLES_RATE and measured["seen"] >= MULTIPLES_SEEN * len(self.values)


GAMES: dict[str, type[Curve] | type[Multiples]] = {"curve": Curve, "multiples": Multiples}


def counted_uniform(seed: int, numbers: NDArray[np.uint64], draws: int) -> Tensor:
    """Numbers between 0 and 1 that depend on a seed and an example's number alone, `[P, draws]`.

    The mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) on a counter: a generator object an example
    would cost more than the step it feeds.
    """
    with np.errstate(over="ignore"):
        position = numbers[:, None] * np.uint64(draws) + np.arange(draws, dtype=np.uint64)[None]
        z = (position + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(40)).astype(np.float32) / np.float32(2**24))
