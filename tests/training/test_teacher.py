"""What a teacher adds to the loss, and whom that changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sepgan.data.excerpts import Batch
from sepgan.frontend import Stft
from sepgan.separator import Separator
from sepgan.training.separation import SeparationTask
from tests.training.taught import (
    ALONE,
    BACKING,
    HIDDEN,
    batch_of,
    make_roots,
    open_task,
    same,
    teacher_of,
    tiny,
    weights_of,
)

LEVEL_FLOOR = 1e-2


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_roots(tmp_path_factory.mktemp("trees"))


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


@pytest.mark.parametrize(("model", "more"), [("tutor", 0), ("finer", 2)])
def test_a_teacher_of_the_same_front_end_needs_no_second_transform(
    model: str, more: int, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task = open_task(tiny(roots, {"model": str(roots["models"] / f"{model}.safetensors")}), tmp_path, roots)
    batch = batch_of(task, None, ALONE)
    shapes: list[tuple[int, ...]] = []
    transform = Stft.forward

    def count(self: Stft, waveform: Tensor) -> Tensor:
        shapes.append(tuple(waveform.shape[:-1]))
        return transform(self, waveform)

    monkeypatch.setattr(Stft, "forward", count)
    task.make(batch, judged=False)
    # Of the mixtures and the true stems; then of what is taught alone: the mixture in its frames, its voice in ours.
    assert shapes == [(2, 2), (2, 4, 2), (1, 2), (1, 1, 2)][: 2 + more]


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
