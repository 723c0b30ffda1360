"""Arms of the ingredients differ in one thing each."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ingredients
from sepgan.recipe import to_dict

OPTIONS = Namespace(
    steps=60, batch=1, excerpt_s=1.0, learning_rate=1e-3, start=Path("start.safetensors"), cache=Path("decoded")
)


def differences(one: Any, other: Any, path: str = "") -> set[str]:
    """Keys of two recipes below which something differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return set().union(*(differences(one.get(key), other.get(key), f"{path}.{key}".strip(".")) for key in keys))
    return set() if one == other else {path}


@pytest.mark.parametrize(
    ("arm", "where"),
    [
        ("without rendered songs", {"name", "data.train"}),
        ("without the teacher", {"name", "teacher"}),
        ("with an adversary", {"name", "adversary"}),
    ],
)
def test_an_arm_differs_in_one_thing(arm: str, where: set[str]) -> None:
    one, other = (to_dict(ingredients.describe(name, 0, OPTIONS)) for name in ("all", arm))
    found = differences(one, other)
    assert {key if key in where else key.split(".")[0] for key in found} == where


def test_the_adversary_has_its_say_before_the_end() -> None:
    adversary = ingredients.describe("with an adversary", 0, OPTIONS).adversary
    assert adversary.start_step + adversary.warmup_steps + adversary.ramp_steps < OPTIONS.steps / 2


def test_the_table_pairs_seeds() -> None:
    scores = {("all", 0): {"x": 1.0}, ("all", 1): {"x": 2.0}, ("without the teacher", 1): {"x": 1.5}}
    assert list(ingredients.rows(scores))[2:] == ["| all | 1.50 |", "| without the teacher | -0.50 |"]
