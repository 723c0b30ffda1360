"""What the toys measure, and what cheats score."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan.recipe.toy import ToyRecipe
from sepgan.training.toys.games import Curve, Multiples, counted_uniform

POINTS = 1000


def uniform(draws: int, seed: int = 0, points: int = POINTS) -> Tensor:
    return counted_uniform(seed, np.arange(points, dtype=np.uint64), draws)


def curve(function: str = "exponential") -> Curve:
    return Curve(ToyRecipe.model_validate({"function": function}))


def multiples(multiple: int = 5) -> Multiples:
    return Multiples(ToyRecipe(kind="multiples", multiple=multiple))


@pytest.mark.parametrize("function", ["exponential", "sine"])
def test_real_points_pass(function: str) -> None:
    game = curve(function)
    measured = game.measure(game.real(uniform(1)))
    assert measured["squared_error"] <= 1e-9
    assert measured["cover"] <= 0.7  # of a thousand random points of fifty
    assert game.passes(measured)


def test_the_curve_is_the_one_it_says() -> None:
    game = curve()
    points = game.unscale(game.real(torch.tensor([[0.0], [0.2], [1.0]])))
    wanted = [[0.0, 1.0], [10.0, 1.08**10], [50.0, 1.08**50]]
    torch.testing.assert_close(points, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-4)


def on_curve(game: Curve, x: Tensor) -> Tensor:
    return torch.stack([x, game.values(x)], 1) / 25 - 1


CHEATS = {
    "one point of the curve repeated": lambda game: on_curve(game, torch.full((POINTS,), 25.0)),
    "the lower half of the curve": lambda game: on_curve(game, 25 * uniform(1)[:, 0]),
    "both ends": lambda game: on_curve(game, 50 * (uniform(1)[:, 0] > 0.5).float()),
    "a straight line": lambda game: torch.stack([50 * uniform(1)[:, 0], 46 * uniform(1)[:, 0] + 1], 1) / 25 - 1,
    "the mean of y": lambda game: torch.stack([50 * uniform(1)[:, 0], torch.full((POINTS,), 11.9)], 1) / 25 - 1,
    "x and y unrelated": lambda game: (
        torch.stack([50 * uniform(1)[:, 0], game.values(50 * uniform(1, seed=1)[:, 0])], 1) / 25 - 1
    ),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheats_on_the_curve_fail(cheat: str) -> None:
    game = curve()
    assert not game.passes(game.measure(CHEATS[cheat](game)))


def test_one_repeated_point_is_at_least_a_quarter_of_the_range_away() -> None:
    """Whichever it is: 12.5 from the middle, 25 from an end."""
    game = curve()
    covers = [game.measure(on_curve(game, torch.full((POINTS,), x)))["cover"] for x in (0.0, 25.0, 50.0)]
    assert covers == pytest.approx([25.0, 12.5, 25.0], abs=0.01)


def test_points_near_the_curve_pass_and_the_error_is_the_closed_form() -> None:
    game = curve()
    points = game.real(uniform(1))
    points[:, 1] += 1.0 / 25
    measured = game.measure(points)
    assert measured["squared_error"] == pytest.approx(1.0, abs=1e-4)
    assert measured["error"] == pytest.approx(math.sqrt(1 / 4) + measured["cover"] / 2.5, abs=1e-4)
    assert game.passes(measured)


@pytest.mark.parametrize(("multiple", "values"), [(5, 20), (3, 34), (7, 15)])
def test_real_sequences_pass(multiple: int, values: int) -> None:
    game = multiples(multiple)
    real = game.real(uniform(10))
    assert real.shape == (POINTS, 1000)
    assert torch.equal(real.reshape(POINTS, 10, 100).sum(2), torch.ones(POINTS, 10))
    measured = game.measure(real)
    assert (measured["rate"], measured["seen"], measured["error"]) == (1.0, values, 0.0)
    assert game.passes(measured)
    counts = game.numbers(real).flatten().bincount(minlength=100)[game.values]
    assert float(counts.min()) > 0.7 * 10 * POINTS / values


def sequences(numbers: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(numbers.long(), 100).float().flatten(1)


def test_cheats_on_the_sequences_fail() -> None:
    game = multiples()
    zeros = game.measure(sequences(torch.zeros(POINTS, 10)))
    assert (zeros["rate"], zeros["seen"]) == (1.0, 1.0)
    few = game.measure(sequences(5 * (14 * uniform(10)).floor()))
    assert (few["rate"], few["seen"]) == (1.0, 14.0)
    chance = game.measure(sequences((100 * uniform(10)).floor()))
    assert chance["rate"] == pytest.approx(0.2, abs=0.02)
    once = torch.zeros(POINTS, 10)
    once[:5] = 5 * torch.arange(10) + 50 * (torch.arange(5)[:, None] % 2)
    rare = game.measure(sequences(once))
    assert rare["seen"] == 1.0, "a value that hardly ever occurs is not seen"
    for measured in (zeros, few, chance, rare):
        assert not game.passes(measured)
    assert game.passes(game.measure(sequences(5 * (15 * uniform(10)).floor())))


def test_a_choice_is_hard_and_its_gradient_soft() -> None:
    game = multiples()
    output = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    points = game.generated(output)
    assert set(torch.unique(points.detach().round(decimals=5)).tolist()) == {0.0, 1.0}
    weights = torch.arange(1000.0)
    soft = output.reshape(4, 10, 100).softmax(2).flatten(1)
    got, wanted = (
        torch.autograd.grad((value * weights).sum(), output, retain_graph=True)[0] for value in (points, soft)
    )
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("draws", [1, 10])
def test_numbers_are_uniform_and_independent_of_how_they_are_batched(draws: int) -> None:
    together = uniform(draws, seed=3)
    apart = torch.cat([counted_uniform(3, np.asarray([number], dtype=np.uint64), draws) for number in range(20)])
    assert torch.equal(together[:20], apart)
    values = uniform(draws, points=20_000).flatten().double()
    assert float(values.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(values.var()) == pytest.approx(1 / 12, abs=0.003)
    neighbours = torch.stack([values[:-1], values[1:]])
    assert abs(float(torch.corrcoef(neighbours)[0, 1])) < 0.03
    assert not torch.equal(together, uniform(draws, seed=4))


def test_the_games_of_a_recipe() -> None:
    keys: dict[str, Any] = {"kind": "multiples", "length": 3}
    assert Multiples(ToyRecipe.model_validate(keys)).dimensions == 300
    assert Curve(ToyRecipe()).dimensions == 2
