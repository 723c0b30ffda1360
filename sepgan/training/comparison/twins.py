"""A model, its twin, and what lies between their weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, RecipeError
from sepgan.recipe import Recipe, from_dict, to_dict
from sepgan.separator import Separator
from sepgan.training.loop import Progress
from sepgan.training.requests import Requests
from sepgan.training.trainer import train

WITH, WITHOUT = "with", "without"  # folders of the two runs


class Twins(NamedTuple):
    """Two models of one recipe; only the first saw an adversary."""

    header: CheckpointHeader
    adversarial: Mapping[str, Tensor]
    plain: Mapping[str, Tensor]

    def between(self, share: float) -> Separator:
        """The separator whose weights are `share` of the adversarial ones and the rest of the plain ones.

        Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022), do this with a model before and after
        fine-tuning; twins that parted early need not be joined by good models, which the curve shows.

        Args:
            share: 0: the plain twin, 1: the adversarial one.
        """
        mixed = {
            name: plain.lerp(self.adversarial[name].to(plain), share) if plain.is_floating_point() else plain
            for name, plain in ((name, _wide(tensor)) for name, tensor in self.plain.items())
        }
        return Separator.build(self.header, mixed, "the twins")


def train_twins(
    recipe: Recipe,
    out: Path,
    roots: Mapping[str, Path],
    *,
    device: str = "auto",
    progress: Progress | None = None,
    requests: Requests | None = None,
) -> tuple[Path, Path]:
    """Train a recipe with and without its adversary, with the same seed, steps and data; runs that are done are kept.

    Raises:
        RecipeError: The recipe has no adversary.
    """
    if recipe.adversary.weight == 0:
        raise RecipeError(f"recipe '{recipe.name}' has no adversary to do without: set adversary.weight above 0")
    plain = recipe.model_copy(update={"adversary": recipe.adversary.model_copy(update={"weight": 0.0})})
    for name, one in ((WITH, recipe), (WITHOUT, plain)):
        train(one, out / name, roots, device=device, progress=progress, requests=requests)
    return tuple(out / name / f"last{checkpoint.SUFFIX}" for name in (WITH, WITHOUT))  # type: ignore[return-value]


def read_twins(adversarial: Path, plain: Path) -> Twins:
    """Read two models and see that they are twins.

    Raises:
        CheckpointError: One cannot be read, or they differ in more than the adversary.
    """
    (header, weights), (other, others) = (checkpoint.read(checkpoint.find(path)) for path in (adversarial, plain))
    if other.recipe["adversary"]["weight"] != 0:
        raise CheckpointError(f"model '{plain}' was trained with an adversary: give its twin with adversary.weight=0")
    if header.recipe["adversary"]["weight"] == 0:
        raise CheckpointError(f"model '{adversarial}' was trained without an adversary: there is nothing to compare")
    differing = sorted(_differing(_matched(header.recipe), _matched(other.recipe)))
    if header.step != other.step:
        differing.append(f"steps ({header.step} and {other.step})")
    if differing:
        raise CheckpointError(
            f"models '{adversarial}' and '{plain}' are no twins, they differ in {', '.join(differing[:4])}: only the "
            "adversary may differ; let `sepgan compare RECIPE` train both"
        )
    return Twins(header, weights, others)


def _matched(recipe: dict[str, Any]) -> dict[str, Any]:
    plain = to_dict(from_dict(recipe))
    train = {key: value for key, value in plain["train"].items() if key not in ("log_every", "save_every", "report")}
    data = {key: value for key, value in plain["data"].items() if key not in ("workers", "cache", "resident")}
    kept = {key: value for key, value in plain.items() if key not in ("adversary", "name", "description", "licence")}
    return kept | {"train": train, "data": data}


def _differing(first: Any, second: Any, path: str = "") -> list[str]:
    if not isinstance(first, dict) or not isinstance(second, dict):
        return [] if first == second else [path]
    return [
        place
        for key in first.keys() | second.keys()
        for place in _differing(first.get(key), second.get(key), f"{path}.{key}".strip("."))
    ]


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
