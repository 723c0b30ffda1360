"""Whole runs with a teacher: what they leave, how they go on, what they cost and what they refuse."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from typer.testing import CliRunner

from sepgan import checkpoint
from sepgan.cli import app
from sepgan.errors import CheckpointError, DatasetError, RecipeError, SepganError
from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training.estimate import estimate
from sepgan.training.task import Part
from sepgan.training.teacher import Teacher
from sepgan.training.trainer import train
from tests import synth
from tests.training.taught import (
    ALONE,
    FRONTEND,
    STEMS,
    batch_of,
    log_of,
    make_roots,
    make_teacher,
    open_task,
    same,
    tiny,
)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_roots(tmp_path_factory.mktemp("trees"))


def run(config: Recipe, out: Path, roots: Mapping[str, Path], **keys: Any) -> Path:
    return train(config, out, roots, device="cpu", **keys)


def test_a_teacher_that_does_not_count_changes_nothing(roots: dict[str, Path], tmp_path: Path) -> None:
    """Neither with weight 0, nor where all stems are known: the same weights bit for bit, and the same losses."""
    run(tiny(roots), tmp_path / "none", roots)
    run(tiny(roots, {"weight": 0.0}), tmp_path / "zero", roots)
    plain = checkpoint.read_tensors(tmp_path / "none" / "last.safetensors")[1]
    assert same(plain, checkpoint.read_tensors(tmp_path / "zero" / "last.safetensors")[1])
    assert log_of(tmp_path / "none", "reconstruction") == log_of(tmp_path / "zero", "reconstruction")
    known = {"data": {"train": [{"kind": "folder", "root": "music"}]}}
    run(tiny(roots, **known), tmp_path / "known", roots)
    run(tiny(roots, {"weight": 3.0}, **known), tmp_path / "idle", roots)
    plain = checkpoint.read_tensors(tmp_path / "known" / "last.safetensors")[1]
    assert same(plain, checkpoint.read_tensors(tmp_path / "idle" / "last.safetensors")[1])
    assert not log_of(tmp_path / "idle", "teacher")
    run(tiny(roots, {}), tmp_path / "taught", roots)
    assert not same(
        checkpoint.read_tensors(tmp_path / "none" / "last.safetensors")[1],
        checkpoint.read_tensors(tmp_path / "taught" / "last.safetensors")[1],
    )


def test_a_stopped_run_goes_on_bit_for_bit_with_the_same_teacher_only(roots: dict[str, Path], tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    shutil.copy(roots["models"] / "tutor.safetensors", moved)
    run(tiny(roots, {}), tmp_path / "whole", roots)

    def stop(step: int, steps: int, measured: Mapping[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny(roots, {}), tmp_path / "stopped", roots, progress=stop)
    with pytest.raises(CheckpointError, match=r"learnt from a teacher with sha256 \w{64}, and .*other.* has \w{64}"):
        run(tiny(roots, {"model": str(roots["models"] / "other.safetensors")}), tmp_path / "stopped", roots)
    with pytest.raises(CheckpointError, match="another recipe"):
        run(tiny(roots, {"weight": 0.5}), tmp_path / "stopped", roots)
    with pytest.raises(CheckpointError, match="another recipe"):
        run(tiny(roots), tmp_path / "stopped", roots)
    run(tiny(roots, {"model": str(moved)}), tmp_path / "stopped", roots)
    for name in ("state-00000004.safetensors", "last.safetensors"):
        whole, stopped = (checkpoint.read_tensors(tmp_path / run / name)[1] for run in ("whole", "stopped"))
        assert same(whole, stopped)
        assert not any("teacher" in key for key in whole)


def test_the_model_says_who_its_teacher_was(roots: dict[str, Path], tmp_path: Path) -> None:
    run(tiny(roots, {}, train={"steps": 2}), tmp_path, roots)
    header = checkpoint.read_header(tmp_path / "last.safetensors")
    tutor = checkpoint.read_header(roots["models"] / "tutor.safetensors")
    assert header.training_data[-1] == {
        "title": "the teacher itself",
        "taught_by": "tutor",
        "weights": "MIT",
        "licence": "MIT",
        "sha256": tutor.sha256,
    }
    assert header.recipe["teacher"]["sha256"] == tutor.sha256
    assert log_of(tmp_path, "teacher")
    shown = CliRunner().invoke(app, ["models", "info", str(tmp_path / "last.safetensors")])
    assert "taught by tutor (MIT): the teacher itself: MIT" in shown.output


def test_no_teacher_is_asked_about_validation_songs(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(
        roots,
        {"weight_with_stems": 1.0},
        adversary={"weight": 0.1, "widths": [8]},
        data={"validation": [{"kind": "folder", "root": "music", "split": "valid"}]},
        train={"validation_s": 1},
    )
    loop, task = open_task(config, tmp_path, roots)
    loop.train_step([next(task.batches(Part(0, 4)))])

    def refuse(*_: Any) -> Tensor:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(Teacher, "loss", refuse)
    found = task.validate(1)
    assert found is not None
    assert any(name.startswith("health") or "auc" in name for name in found.values), "the probe ran"
    with pytest.raises(AssertionError, match="was asked"):
        task.make(batch_of(task, ALONE), judged=True)


def test_a_dry_run_counts_the_teacher(roots: dict[str, Path], tmp_path: Path) -> None:
    without = estimate(tiny(roots), tmp_path, roots, device="cpu")
    with_teacher = estimate(tiny(roots, {}), tmp_path, roots, device="cpu")
    assert with_teacher.phases[0].macs_per_step > without.phases[0].macs_per_step
    assert with_teacher.memory_bytes["teacher"] > 0
    assert "teacher" not in without.memory_bytes
    assert with_teacher.weights == without.weights, "it learns nothing"


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        (
            {"model": "rate"},
            RecipeError,
            "works at 22050 Hz, the recipe at 16000 Hz: set frontend.sample_rate to 22050",
        ),
        (
            {"model": "horns"},
            RecipeError,
            "has none of the recipe's stems drums, bass, other, vocals: say in teacher.s",
        ),
        ({"stems": {"singing": ["vocals"]}}, RecipeError, "'singing', which .* its stems are vocals, accompaniment"),
        ({"sha256": "0" * 64}, CheckpointError, "get the model that is meant, or leave out teacher.sha256"),
        (
            {"model": "secret"},
            CheckpointError,
            r"not allow \(weights of secret: not public\): choose one with MIT only",
        ),
        ({"model": "absent"}, CheckpointError, "absent.safetensors' not found: give a .safetensors file"),
    ],
)
def test_what_cannot_teach_is_refused(
    teacher: dict[str, Any], error: type[SepganError], message: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    if "model" in teacher:
        teacher = teacher | {"model": str(roots["models"] / f"{teacher['model']}.safetensors")}
    # The songs themselves are under no licence, which is told later.
    with pytest.raises(error, match=message):
        open_task(tiny(roots, teacher, data={"licences": ["MIT"]}), tmp_path, roots)


def test_a_teacher_by_name_that_was_not_added_yet(roots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run `sepgan models add spleeter-2stems`"):
        open_task(tiny(roots, {"model": "spleeter-2stems"}), tmp_path, roots)


def test_songs_that_nothing_learns_from_are_told_of(
    roots: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for teacher, told in (({}, False), ({"weight": 0.0}, True), (None, True)):
        caplog.clear()
        open_task(tiny(roots, teacher), tmp_path, roots)
        assert ("nothing learns from mixtures without stems" in caplog.text) == told


def test_songs_without_stems_are_enough_for_a_teacher(roots: dict[str, Path], tmp_path: Path) -> None:
    only = {"data": {"train": [{"kind": "folder", "root": "mixtures", "unlabelled": True}]}}
    run(tiny(roots, {}, train={"steps": 1}, **only), tmp_path, roots)
    assert log_of(tmp_path, "teacher").keys() == {1}
    idle: dict[str, Any] = {"weight": 0.0, "weight_with_stems": 1.0}
    for teacher in (None, idle):
        with pytest.raises(DatasetError, match="mixtures without stems only: add a source with stems, or a teacher"):
            open_task(tiny(roots, teacher, **only), tmp_path / "refused", roots)


def test_the_debug_twin_of_default_learns_from_a_teacher(tmp_path: Path) -> None:
    """The command line from end to end, with a teacher of another front-end and a song without stems."""
    synth.folder_tree(tmp_path / "stems", duration_s=1.0)
    synth.write(tmp_path / "music/train/unknown.wav", synth.mixture(synth.song(1.0, seed=7)))
    synth.pairs_tree(tmp_path / "pairs", duration_s=1.0)
    teacher = make_teacher(tmp_path / "tutor.safetensors", frontend=FRONTEND | {"sample_rate": 44100})
    data = [f"--data={name}={tmp_path / name}" for name in ("stems", "pairs", "music")]
    keys = [f"teacher.model={teacher}", "train.steps=3", "train.report=false", "train.log_every=1"]
    source = "{kind: singles, root: music, unlabelled: true}"
    keys.append(f"data.train=[{{kind: folder, root: stems}}, {{kind: pairs, root: pairs}}, {source}]")
    done = CliRunner().invoke(app, ["train", "default_debug", *keys, "--out", str(tmp_path / "run"), *data])
    assert done.exit_code == 0, done.output
    assert log_of(tmp_path / "run", "teacher")
    assert Separator.load(tmp_path / "run").stems == tuple(STEMS)
    keys[0] = "teacher.modle=tutor"
    done = CliRunner().invoke(app, ["train", "default_debug", *keys, "--out", str(tmp_path / "run"), *data])
    assert isinstance(done.exception, RecipeError)
    assert "teacher.model' is missing" in str(done.exception)
