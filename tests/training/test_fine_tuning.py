"""Models that a run begins with, and the models it leaves."""

import re
from pathlib import Path

import pytest
import torch

from sepgan import checkpoint
from sepgan.errors import CheckpointError, RecipeError
from sepgan.separator import Separator
from sepgan.training.trainer import open_run
from tests.training.runs import equal, newest, run, task_of, tiny, weights_of


def test_fine_tuning_starts_from_a_model(tmp_path: Path, trees: dict[str, Path]) -> None:
    base = run(tiny(trees), tmp_path / "base", trees)
    for name in (base, tmp_path / "base"):
        task = task_of(open_run(tiny(trees, f"train.fine_tune={name}"), tmp_path / "tuned", trees, device="cpu"))
        assert equal(weights_of(base), task.separator.generator.state_dict())
        assert equal(weights_of(base), task.average.state_dict())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["generator.widths=[8,16]"], "does not fit the generator of this recipe"),
        (["stems=[vocals, drums, bass, other]"], "has the stems drums, bass, other, vocals, the recipe vocals, drums"),
        (["train.fine_tune=missing"], "model 'missing' not found"),
    ],
)
def test_fine_tuning_from_what_does_not_fit(
    tmp_path: Path, trees: dict[str, Path], overrides: list[str], message: str
) -> None:
    base = run(tiny(trees, "train.steps=1"), tmp_path / "base", trees)
    with pytest.raises(CheckpointError, match=message) as caught:
        run(tiny(trees, f"train.fine_tune={base}", *overrides), tmp_path / "tuned", trees)
    assert "\n" not in str(caught.value)


def test_weights_of_16_bits(tmp_path: Path, trees: dict[str, Path]) -> None:
    """Kernels are halved; running statistics are not, since a variance may exceed what 16 bits hold."""
    best = run(tiny(trees, "train.weights_dtype=float16"), tmp_path, trees)
    for name, tensor in weights_of(best).items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.ndim > 1 else torch.float32), name
    exact = weights_of(newest(tmp_path))["module/average/head.weight"]
    loaded = Separator.load(tmp_path / "last.safetensors").generator.state_dict()["head.weight"]
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, exact, rtol=1e-3, atol=1e-6)


def test_frozen_parts_keep_their_weights_and_the_rest_learns(tmp_path: Path, trees: dict[str, Path]) -> None:
    base = run(tiny(trees, "train.steps=1"), tmp_path / "base", trees)
    last = run(tiny(trees, f"train.fine_tune={base}", "train.frozen=[encoder.0]"), tmp_path / "tuned", trees)
    before, after = weights_of(base), weights_of(last)
    learnable = {name for name, weight in before.items() if weight.is_floating_point() and "running" not in name}
    changed = {name for name in learnable if not torch.equal(before[name], after[name])}
    told = checkpoint.read(last)[0].recipe
    assert told["train"]["fine_tune"] == base.name, "models travel without the folders of the machine"
    assert told["data"]["cache"] is None
    assert changed == {name for name in learnable if not name.startswith("encoder.0.")}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            "[encoder, cellar]",
            "train.frozen: the generator has no part 'cellar' with weights; it has normalise",
        ),
        ("[encoder.]", "no part 'encoder.'"),
        ("[normalise, encoder, decoder, head]", "leaves nothing to train"),
    ],
)
def test_what_cannot_be_frozen(tmp_path: Path, trees: dict[str, Path], parts: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        open_run(tiny(trees, f"train.frozen={parts}"), tmp_path, trees, device="cpu")
