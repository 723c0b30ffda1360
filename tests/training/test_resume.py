"""Runs that stop and go on: bit for bit, from damaged states, and not with another recipe."""

import json
from pathlib import Path

import pytest

from sepgan import checkpoint
from sepgan.errors import CheckpointError
from sepgan.training import state
from tests.training.runs import equal, interrupt_at, log_of, newest, run, tiny, weights_of


@pytest.mark.parametrize(
    ("error", "at"), [(KeyboardInterrupt, 2), (RuntimeError, 5)], ids=["Ctrl-C after step 2", "killed after step 5"]
)
def test_a_stopped_run_goes_on_bit_for_bit(
    tmp_path: Path, trees: dict[str, Path], error: type[BaseException], at: int
) -> None:
    """Networks, EMA, optimisers and random state after stop and resume are those of a run that never stopped.

    Dropout is on: a data loader that drew its seed from the global generator used to shift it after a resume.
    """
    config = tiny(trees)
    run(config, tmp_path / "whole", trees)
    with pytest.raises(error):
        run(config, tmp_path / "stopped", trees, progress=interrupt_at(at, error))
    metadata, _ = checkpoint.read_tensors(newest(tmp_path / "stopped"))
    saved_step = json.loads(metadata["state"])["step"]
    assert saved_step == (at if error is KeyboardInterrupt else 3)
    assert checkpoint.read_header(tmp_path / "stopped" / "last.safetensors").step == saved_step
    run(config, tmp_path / "stopped", trees)
    for name in ("state-00000006.safetensors", "last.safetensors", "best.safetensors"):
        whole, stopped = weights_of(tmp_path / "whole" / name), weights_of(tmp_path / "stopped" / name)
        assert equal(whole, stopped), name
    names = weights_of(tmp_path / "whole" / "state-00000006.safetensors").keys()
    for part in (
        "module/generator/",
        "module/average/",
        "module/discriminator/",
        "optimiser/generator/",
        "random/0/cpu",
    ):
        assert any(name.startswith(part) for name in names)
    for key in ("reconstruction", "discriminator_loss", "usdr/mean"):
        assert log_of(tmp_path / "whole", key) == log_of(tmp_path / "stopped", key)


def test_a_finished_run_may_be_made_longer(tmp_path: Path, trees: dict[str, Path]) -> None:
    run(tiny(trees, "train.steps=3"), tmp_path, trees)
    run(tiny(trees, "train.steps=5", "train.log_every=2", "data.workers=0"), tmp_path, trees)
    assert checkpoint.read_header(tmp_path / "last.safetensors").step == 5
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    assert run(tiny(trees, "train.steps=5"), tmp_path, trees) == tmp_path / "best.safetensors"
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before, "nothing is left to do"


def test_another_recipe_cannot_go_on(tmp_path: Path, trees: dict[str, Path]) -> None:
    run(tiny(trees, "train.steps=1"), tmp_path, trees)
    with pytest.raises(CheckpointError, match="was made by another recipe: use another --out, or --no-resume"):
        run(tiny(trees, "train.learning_rate=0.5"), tmp_path, trees)
    run(tiny(trees, "train.learning_rate=0.005"), tmp_path, trees, resume=False)
    assert checkpoint.read_header(tmp_path / "last.safetensors").step == 6
    assert list(log_of(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path, trees: dict[str, Path]) -> None:
    """And what comes out is what would have come out."""
    run(tiny(trees), tmp_path / "whole", trees)
    run(tiny(trees), tmp_path / "damaged", trees)
    path = newest(tmp_path / "damaged")
    path.write_bytes(path.read_bytes()[:1000])
    run(tiny(trees), tmp_path / "damaged", trees)
    assert equal(weights_of(newest(tmp_path / "whole")), weights_of(newest(tmp_path / "damaged")))
    for path in state.found(tmp_path / "damaged"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state-00000003.safetensors' is truncated"):
        run(tiny(trees), tmp_path / "damaged", trees)


@pytest.mark.parametrize("version", [0, 99])
def test_a_state_of_another_version_is_refused(version: int, tmp_path: Path, trees: dict[str, Path]) -> None:
    run(tiny(trees, "train.steps=1"), tmp_path, trees)
    metadata, tensors = checkpoint.read_tensors(newest(tmp_path))
    progress = json.loads(metadata["state"]) | {"version": version}
    checkpoint.write_tensors(newest(tmp_path), tensors, {"state": json.dumps(progress)})
    with pytest.raises(CheckpointError, match="is of another version: start again with --no-resume"):
        run(tiny(trees), tmp_path, trees)


def test_a_state_of_the_first_version_is_not_passed_over(tmp_path: Path, trees: dict[str, Path]) -> None:
    checkpoint.write_tensors(tmp_path / "state.safetensors", {}, {"state": json.dumps({"version": 1})})
    with pytest.raises(CheckpointError, match=r"state.safetensors' is of another version: start again"):
        run(tiny(trees), tmp_path, trees)
