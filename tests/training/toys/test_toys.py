"""Toys trained by the loop that trains separators."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sepgan import checkpoint, cli, recipe
from sepgan.errors import RecipeError
from sepgan.training.toys import ToyTask
from sepgan.training.trainer import open_run, train


def overrides(*more: str) -> list[str]:
    return ["train.log_every=50", *more]


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def test_the_multiples_are_learnt_and_drawn(tmp_path: Path) -> None:
    """A fifth of the numbers are multiples by chance; a hundred steps later nearly all are, and most values occur."""
    config = recipe.load("toy_multiples", overrides("train.steps=100"))
    path = train(config, tmp_path, {}, device="cpu")
    scores = [line for line in log_of(tmp_path) if "rate" in line]
    assert scores[-1]["rate"] >= 0.9
    assert scores[-1]["seen"] >= 15
    assert path == tmp_path / "best.safetensors"
    metadata, _ = checkpoint.read_tensors(path)
    assert json.loads(metadata["sepgan"])["toy"]["name"] == "toy_multiples"
    picture = (tmp_path / "samples.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_the_curve_is_learnt_and_drawn(tmp_path: Path) -> None:
    """An untrained generator makes one blot, with an error of 6 and more; both bounds are kept below 2."""
    config = recipe.load("toy_exponential", overrides("train.steps=300", "train.validate_every=100"))
    train(config, tmp_path, {}, device="cpu")
    errors = [line["error"] for line in log_of(tmp_path) if "error" in line]
    assert min(errors) < 2.0
    assert (tmp_path / "samples.png").is_file()


def test_early_stopping_on_its_own_error(tmp_path: Path) -> None:
    """All there is to gain has been gained after a while, and the run ends long before its last step."""
    config = recipe.load("toy_multiples", overrides("train.patience=1", "train.steps=5000", "toy.picture=false"))
    train(config, tmp_path, {}, device="cpu")
    assert log_of(tmp_path)[-1]["step"] <= 400
    assert not (tmp_path / "samples.png").exists()


def test_a_stopped_toy_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """With everything on that has a memory: lazy R1, the controller, instance noise, several updates a step."""
    adversary = ["adversary.r1=0.1", "adversary.penalty_every=3", "adversary.updates=2", "adversary.instance_noise=0.1"]
    adversary += ["adversary.instance_noise_steps=30", "adversary.controller.enabled=true"]
    adversary += ["adversary.controller.window=4", "toy.picture=false", "train.save_every=6", "train.validate_every=6"]

    def run(out: Path, steps: int) -> dict[str, torch.Tensor]:
        config = recipe.load("toy_exponential", [*adversary, f"train.steps={steps}", "train.schedule=constant"])
        train(config, out, {}, device="cpu")
        return checkpoint.read_tensors(out / f"state-{steps:08d}.safetensors")[1]

    whole = run(tmp_path / "whole", 12)
    run(tmp_path / "stopped", 6)
    stopped = run(tmp_path / "stopped", 12)
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_the_controller_on_a_toy_lowers_the_rate_when_nothing_passes(tmp_path: Path) -> None:
    """A discriminator far too strong for a generator that hardly moves: nothing passes, the rate falls to its floor."""
    keys = ["adversary.controller.enabled=true", "adversary.controller.window=5", "adversary.controller.floor=0.2"]
    keys += ["adversary.learning_rate=0.02", "train.learning_rate=5e-5", "train.log_every=1", "toy.picture=false"]
    config = recipe.load("toy_exponential", [*keys, "train.steps=90", "train.schedule=constant"])
    loop = open_run(config, tmp_path, {}, device="cpu")
    loop.fit()
    assert loop.task.adversary is not None
    assert loop.task.adversary.generator_rate_scale == 0.2
    rates = [line["learning_rate"] for line in log_of(tmp_path) if "learning_rate" in line]
    assert rates[0] == pytest.approx(5e-5)
    assert rates[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("picture", [True, False])
def test_the_command_points_to_samples_and_not_to_songs(
    picture: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "toy_multiples", f"toy.picture={picture}".lower(), "train.steps=2", "--out", str(tmp_path)]
    assert cli.run([*command, "--device", "cpu", "--progress", "none"]) == 0
    told = "".join(capsys.readouterr())
    assert (str(tmp_path / "samples.png") in told) == picture == (tmp_path / "samples.png").is_file()
    assert f"tensorboard --logdir {tmp_path}" in told
    assert "separate" not in told


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adversary.weight=0", "is a toy and learns from its adversary alone: set adversary.weight"),
        ("adversary.kind=patch", "adversary.kind 'patch' does not fit: 'mlp' judges points of a toy"),
    ],
)
def test_toys_that_cannot_be_trained(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        open_run(recipe.load("toy_exponential", [override]), tmp_path, {}, device="cpu")


def test_the_same_seed_draws_the_same_points(tmp_path: Path) -> None:
    tasks = [open_run(recipe.load("toy_exponential", ["seed=4"]), tmp_path / name, {}, device="cpu") for name in "ab"]
    first, second = (loop.task for loop in tasks)
    assert isinstance(first, ToyTask)
    assert isinstance(second, ToyTask)
    assert torch.equal(first.draw_points(first.average), second.draw_points(second.average))
