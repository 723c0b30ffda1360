"""A teacher in real training steps: what it adds to the loss, whom it changes, and what is said of it afterwards."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from sepgan import checkpoint, recipe
from sepgan.checkpoint import CheckpointHeader
from sepgan.cli import app
from sepgan.data.excerpts import Batch
from sepgan.errors import CheckpointError, DatasetError, RecipeError, SepganError
from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training.estimate import estimate
from sepgan.training.loop import Loop
from sepgan.training.separation import SeparationTask
from sepgan.training.task import Part
from sepgan.training.teacher import Teacher
from sepgan.training.trainer import open_run, train
from tests import synth

RATE = 16000
STEMS = ["drums", "bass", "other", "vocals"]
FRONTEND = {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "bins": 64}
LEVEL_FLOOR = 1e-2


def make_teacher(path: Path, seed: int = 5, **sections: Any) -> Path:
    """A model of two stems whose masks differ from song to song, as a file."""
    raw: dict[str, Any] = {
        "name": path.stem,
        "stems": ["vocals", "accompaniment"],
        "frontend": FRONTEND,
        "generator": {"kind": "spleeter", "widths": [4, 8]},
    }
    plain = recipe.from_dict(raw | sections)
    torch.manual_seed(seed)
    separator = Separator(plain)
    for weight in separator.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    header = CheckpointHeader(
        name=path.stem,
        stems=plain.stems,
        sample_rate=plain.frontend.sample_rate,
        recipe=recipe.to_dict(plain),
        licence="MIT",
    )
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Songs with stems, songs without, a cache, and teachers."""
    root = tmp_path_factory.mktemp("trees")
    synth.folder_tree(root / "music", duration_s=1.0, sample_rate=RATE)
    for seed in (7, 8):
        wave = synth.mixture(synth.song(1.0, seed=seed, sample_rate=RATE))
        synth.write(root / "mixtures/train" / f"song {seed}" / "mixture.wav", wave, sample_rate=RATE)
    make_teacher(root / "tutor.safetensors")
    make_teacher(root / "other.safetensors", seed=6)
    make_teacher(root / "finer.safetensors", frontend=FRONTEND | {"n_fft": 1024, "hop_length": 256, "bins": 100})
    make_teacher(root / "rate.safetensors", frontend=FRONTEND | {"sample_rate": 22050})
    make_teacher(root / "horns.safetensors", stems=["horns", "rest"])
    return {"music": root / "music", "mixtures": root / "mixtures", "cache": root / "cache", "models": root}


def tiny(roots: Mapping[str, Path], teacher: Mapping[str, Any] | None = None, **sections: Any) -> Recipe:
    """A recipe at 16 kHz that learns from songs with and without stems; by default the teacher has a say in these."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "frontend": FRONTEND,
        "generator": {"widths": [8, 12], "head_width": 8, "dropout": 0.0},
        "data": {
            "excerpt_s": 0.3,
            "train": [
                {"kind": "folder", "root": "music"},
                {"kind": "folder", "root": "mixtures", "unlabelled": True},
            ],
            "cache": str(roots["cache"]),
        },
        "train": {"steps": 4, "batch_size": 4, "warmup_steps": 0, "log_every": 1, "save_every": 2, "report": False},
        "teacher": None if teacher is None else {"model": str(roots["models"] / "tutor.safetensors")} | dict(teacher),
    }
    for section, keys in sections.items():
        raw[section] = raw.get(section, {}) | keys
    return recipe.from_dict(raw)


def open_task(config: Recipe, out: Path, roots: Mapping[str, Path]) -> tuple[Loop, SeparationTask]:
    loop = open_run(config, out, roots, device="cpu")
    assert isinstance(loop.task, SeparationTask)
    return loop, loop.task


def teacher_of(task: SeparationTask) -> Teacher:
    assert task.teacher is not None
    return task.teacher


def batch_of(task: SeparationTask, *groups: list[list[int]] | None) -> Batch:
    """Songs of which these groups of stems are known; None: nothing is."""
    samples = task.separator.excerpt_samples(0.3)
    songs = [synth.song(samples / RATE, seed=20 + seed, sample_rate=RATE) for seed in range(len(groups))]
    targets = torch.zeros(len(groups), 4, 2, samples)
    matrix = torch.zeros(len(groups), 4, 4)
    for item, (song, known) in enumerate(zip(songs, groups, strict=True)):
        for slot, members in enumerate(known or []):
            matrix[item, slot, members] = 1.0
            targets[item, slot] = sum(torch.from_numpy(song[STEMS[stem]]) for stem in members)
    mixture = torch.stack([torch.from_numpy(synth.mixture(song)) for song in songs])
    supervised = torch.tensor([known is not None for known in groups])
    return Batch(mixture, targets, matrix, torch.full((len(groups),), RATE / 2), supervised)


ALONE = [[0], [1], [2], [3]]
HIDDEN = [[0], [1, 2, 3]]  # the voice lies inside `other`
BACKING = [[0, 1, 2], [3]]


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def log_of(out: Path, key: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def by_hand(task: SeparationTask, teacher: Separator, batch: Batch, item: int) -> float:
    """Relative distance of both of the teacher's stems for one item, in numpy, from masks and waveforms."""
    mixture = batch.mixture[item : item + 1]
    with torch.no_grad():
        spectrum = task.separator.stft(mixture)
        masks = task.separator.masks(spectrum)[0].numpy()
        if teacher.stft.n_fft == 512:
            stems, bands = (teacher.masks(spectrum) * spectrum.unsqueeze(1))[0].numpy(), 64
        else:
            # The finer teacher hears up to its band 99 of 15.6 Hz, which lies between the student's bands 49 and 50.
            stems, bands = task.separator.stft(teacher(mixture))[0].numpy(), 50
    level = np.abs(spectrum[0].numpy())
    total = 0.0
    for stem, parts in {0: [3], 1: [0, 1, 2]}.items():
        error = np.abs(sum(masks[part] * level for part in parts) - np.abs(stems[stem]))
        total += float(np.mean(error[:, :bands]) / (np.mean(level[:, :bands]) + LEVEL_FLOOR))
    return total


@pytest.mark.parametrize("model", ["tutor", "finer"])
def test_the_loss_is_the_weighted_distance_from_the_teachers_stems(
    model: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    path = roots["models"] / f"{model}.safetensors"
    asked = {"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}
    config = tiny(roots, {"model": str(path), "weight": 0.5, "weight_with_stems": 0.25, "stems": asked})
    _, task = open_task(config, tmp_path, roots)
    task.generator.eval()
    batch = batch_of(task, None, ALONE, HIDDEN)
    made = task.make(batch, judged=False)
    teacher = Separator.load(path)
    first, second, third = (by_hand(task, teacher, batch, item) for item in range(3))
    wanted = (0.5 * first + 0.25 * second + 0.5 * third) / 3
    assert made.taught is not None
    assert float(made.taught.detach()) == pytest.approx(wanted, rel=1e-4)
    assert task.sizes(batch).taught == 3
    assert made.reconstruction is not None
    alone = task.make(Batch(*(tensor[1:] for tensor in batch)), judged=False).reconstruction
    torch.testing.assert_close(made.reconstruction, alone)


@pytest.mark.parametrize("reconstruction", ["phase_sensitive", "complex"])
def test_the_loss_is_in_the_measure_of_the_reconstruction(
    reconstruction: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    """If what the teacher says were the truth, both losses would be one; so mixtures of its own stems are compared."""
    asked = {"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}
    settings = {"train": {"reconstruction": reconstruction}}
    _, task = open_task(tiny(roots, {"weight_with_stems": 1.0, "stems": asked}, **settings), tmp_path, roots)
    teacher = teacher_of(task)
    task.generator.eval()
    batch = batch_of(task, BACKING)

    def estimate_truth(spectrum: Tensor, waveform: Tensor) -> Tensor:
        truth: Tensor = task.separator.stft(batch.targets[:, [1, 0]])  # voice, then accompaniment
        return truth

    teacher._estimate = estimate_truth  # type: ignore[method-assign]
    made = task.make(batch, judged=False)
    assert made.taught is not None
    torch.testing.assert_close(made.taught, made.reconstruction)


def test_a_student_with_complex_masks_learns_from_magnitudes(roots: dict[str, Path], tmp_path: Path) -> None:
    generator = {"kind": "bandsplit", "widths": [8, 8], "strides": [4], "dual_path": 1, "subbands": 2}
    config = tiny(roots, {}, generator=generator, train={"reconstruction": "complex", "learning_rate": 1e-2})
    loop, task = open_task(config, tmp_path, roots)
    batch = batch_of(task, None, ALONE)
    measured = [loop.train_step([batch]) for _ in range(6)]
    assert measured[-1]["teacher"] < measured[0]["teacher"]


def test_what_is_known_of_a_song_decides_how_much_the_teacher_counts(roots: dict[str, Path], tmp_path: Path) -> None:
    asked = {"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}
    _, task = open_task(tiny(roots, {"weight": 0.5, "weight_with_stems": 0.1, "stems": asked}), tmp_path, roots)
    batch = batch_of(task, None, ALONE, HIDDEN, BACKING)
    wanted = torch.tensor([[0.5, 0.5], [0.1, 0.1], [0.5, 0.5], [0.1, 0.1]])
    torch.testing.assert_close(teacher_of(task).weights(batch), wanted)
    # The same stems are the default, and where nothing counts no item is taught.
    _, task = open_task(tiny(roots, {}), tmp_path, roots)
    assert teacher_of(task).weights(batch).tolist() == [[1.0], [0.0], [1.0], [0.0]]
    assert teacher_of(task).taught(batch).tolist() == [True, False, True, False]


def test_a_batch_without_any_stems_changes_the_student_alone(roots: dict[str, Path], tmp_path: Path) -> None:
    loop, task = open_task(tiny(roots, {}, train={"learning_rate": 3e-2, "steps": 100}), tmp_path, roots)
    batch = batch_of(task, None, None)
    teacher = teacher_of(task).separator
    student, before = weights_of(task.generator), weights_of(teacher)
    measured = [loop.train_step([batch]) for _ in range(40)]
    assert not same(student, weights_of(task.generator))
    assert same(before, weights_of(teacher))
    assert not teacher.training
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.parameters())
    assert all("teacher" in values and "reconstruction" not in values for values in measured)
    assert measured[-1]["teacher"] < 0.75 * measured[0]["teacher"], "the student comes nearer to its teacher"


def test_parts_of_a_step_count_by_what_they_teach(roots: dict[str, Path], tmp_path: Path) -> None:
    loop, task = open_task(tiny(roots, {}, train={"accumulate": 2}), tmp_path, roots)
    parts = [batch_of(task, None, ALONE, ALONE), batch_of(task, None, None, None)]
    task.generator.train()
    alone = [task.make(part, judged=False).taught for part in parts]
    assert alone[0] is not None
    assert alone[1] is not None
    wanted = (1 * float(alone[0].detach()) + 3 * float(alone[1].detach())) / 4
    assert loop.train_step(parts)["teacher"] == pytest.approx(wanted, rel=1e-5)


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
        ({"model": "absent"}, CheckpointError, "absent.safetensors' not found: give a .safetensors file"),
    ],
)
def test_what_cannot_teach_is_refused(
    teacher: dict[str, Any], error: type[SepganError], message: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    if "model" in teacher:
        teacher = teacher | {"model": str(roots["models"] / f"{teacher['model']}.safetensors")}
    with pytest.raises(error, match=message):
        open_task(tiny(roots, teacher), tmp_path, roots)


def test_a_teacher_by_name_that_was_not_added_yet(roots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run `sepgan models add spleeter-2stems`"):
        open_task(tiny(roots, {"model": "spleeter-2stems"}), tmp_path, roots)


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
    synth.folder_tree(tmp_path / "stems")
    synth.write(tmp_path / "music/train/unknown.wav", synth.mixture(synth.song(2.0, seed=7)))
    synth.pairs_tree(tmp_path / "pairs")
    teacher = make_teacher(tmp_path / "tutor.safetensors", frontend=FRONTEND | {"sample_rate": 44100})
    data = [f"--data={name}={tmp_path / name}" for name in ("stems", "pairs", "music")]
    keys = [f"teacher.model={teacher}", "train.steps=4", "train.report=false", "train.log_every=1"]
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
