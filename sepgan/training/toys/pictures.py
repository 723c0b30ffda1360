"""Pictures of a toy's samples."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sepgan.errors import OutputError, RecipeError
from sepgan.training.toys.games import NUMBERS, SPAN, Curve, Multiples

REAL, GENERATED, WRONG = "#888888", "#1f77b4", "#d62728"
SHOWN = 6  # sequences that are written out


def draw(game: Curve | Multiples, points: Tensor, name: str, path: Path) -> None:
    """Write a picture of generated points beside the real ones.

    Args:
        game: Knows what points mean.
        points: `[P, dimensions]`.
        name: Of the recipe, for the title.
        path: The file, PNG.

    Raises:
        RecipeError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecipeError("pictures of a toy need matplotlib: install it with `pip install 'sepgan[eval]'`") from error
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    measured = game.measure(points)
    if isinstance(game, Curve):
        x = torch.linspace(0, SPAN, 200, dtype=torch.float64)
        made = game.unscale(points)
        left.plot(x, game.values(x), color=REAL, linewidth=4, alpha=0.5, label="wanted")
        left.scatter(made[:, 0], made[:, 1], s=5, color=GENERATED, label="generated")
        left.set(xlabel="x", ylabel="y", title=f"mean squared error {measured['squared_error']:.2f}")
        left.legend()
        right.hist(made[:, 0].numpy(), bins=25, range=(-5.0, SPAN + 5), color=GENERATED)
        right.axhline(len(made) * (SPAN + 10) / 25 / SPAN, color=REAL, label="wanted, from 0 to 50")
        right.set(xlabel="x", ylabel="points", title=f"distance from uniform {measured['cover']:.2f}")
        right.legend()
    else:
        numbers = game.numbers(points)
        counts = numbers.flatten().bincount(minlength=NUMBERS)
        colours = [GENERATED if value % game.multiple == 0 else WRONG for value in range(NUMBERS)]
        left.bar(range(NUMBERS), counts.tolist(), width=1.0, color=colours)
        left.axhline(numbers.numel() / len(game.values), color=REAL, label=f"wanted, at multiples of {game.multiple}")
        seen = f"{measured['seen']:.0f} of {len(game.values)} seen"
        left.set(xlabel="number", ylabel="times", title=f"{measured['rate']:.1%} multiples, {seen}")
        left.legend()
        lines = ["   ".join(f"{value:2d}" for value in row) for row in numbers[:SHOWN].tolist()]
        right.text(0.5, 0.5, "\n\n".join(lines), family="monospace", ha="center", va="center")
        right.set(title="sequences")
        right.axis("off")
    figure.suptitle(name)
    try:
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise OutputError(f"picture '{path}' cannot be written: {error}; choose another --out") from error
