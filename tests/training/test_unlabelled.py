"""Mixtures without stems, and augmented stems, on their way through real training steps of the separation task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sepgan import recipe
from sepgan.data.excerpts import Batch
from sepgan.recipe import Recipe
from sepgan.training.loop import Loop
from sepgan.training.losses import grouped_l1
from sepgan.training.separation import SeparationTask
from sepgan.training.spectra import analyse
from sepgan.training.task import Part, Sizes
from sepgan.training.trainer import open_run
from tests import synth

RATE = 16000


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Songs with stems, songs without, and a cache."""
    root = tmp_path_factory.mktemp("trees")
    synth.folder_tree(root / "music", duration_s=1.0, sample_rate=RATE)
    for seed in (7, 8):
        wave = synth.mixture(synth.song(1.0, seed=seed, sample_rate=RATE))
        synth.write(root / "mixtures/train" / f"song {seed}" / "mixture.wav", wave, sample_rate=RATE)
    return {"music": root / "music", "mixtures": root / "mixtures", "cache": root / "cache"}


def tiny(roots: Mapping[str, Path], **data: Any) -> Recipe:
    """Half of the excerpts are mixtures; an adversary that needs no pairs acts from the first step on."""
    sections: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "frontend": {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "bins": 64},
        "generator": {"widths": [8, 12], "head_width": 8, "dropout": 0.0},
        "adversary": {
            "unpaired": True,
            "conditional": False,
            "weight": 0.1,
            "start_step": 0,
            "warmup_steps": 0,
            "ramp_steps": 1,
            "widths": [8],
        },
        "data": {
            "excerpt_s": 0.3,
            "remix": 1.0,
            "train": [
                {"kind": "folder", "root": "music"},
                {"kind": "folder", "root": "mixtures", "unlabelled": True},
            ],
            "cache": str(roots["cache"]),
        }
        | data,
        "train": {"steps": 4, "batch_size": 8, "warmup_steps": 0, "log_every": 1, "report": False},
    }
    return recipe.from_dict(sections)


def open_task(roots: Mapping[str, Path], out: Path, **data: Any) -> tuple[Loop, SeparationTask, Batch]:
    loop = open_run(tiny(roots, **data), out, roots, device="cpu")
    assert isinstance(loop.task, SeparationTask)
    return loop, loop.task, next(loop.task.batches(Part(0, 8)))


def weights(task: SeparationTask) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in task.generator.named_parameters()}


def rows(gradient: Tensor) -> Tensor:
    """Which items of a batch a gradient reaches."""
    return gradient.abs().amax(tuple(range(1, gradient.ndim))) > 0


def select(batch: Batch, chosen: Tensor) -> Batch:
    return Batch(*(tensor[chosen] for tensor in batch))


def test_reconstruction_passes_over_mixtures_that_the_adversary_judges(roots: dict[str, Path], tmp_path: Path) -> None:
    _, task, batch = open_task(roots, tmp_path)
    known = batch.supervised
    assert 0 < int(known.sum()) < 8, "both kinds are in the batch"
    made = task.make(batch, judged=True)
    assert made.reconstruction is not None
    (gradient,) = torch.autograd.grad(made.reconstruction, made.output, retain_graph=True)
    assert torch.equal(rows(gradient), known)
    # The mean is that over the known items, whatever the generator makes of the others.
    spectra = analyse(task.separator, select(batch, known), "magnitude", False)
    alone = grouped_l1(made.output[known].detach(), spectra.targets, spectra.groups, spectra.mixture, spectra.band_mask)
    torch.testing.assert_close(made.reconstruction, alone)
    assert task.sizes(batch).reconstructed == int(known.sum())
    # Of several draws of examples some fall on mixtures.
    reached = torch.zeros(8, dtype=torch.bool)
    for _ in range(4):
        made = task.make(batch, judged=True)
        adversarial = task.adversary.generator_losses(made.evidence)["adversarial"]
        reached |= rows(torch.autograd.grad(adversarial, made.output)[0])
    assert bool(reached[~known].any())


def test_a_step_learns_from_mixtures_through_the_adversary_alone(roots: dict[str, Path], tmp_path: Path) -> None:
    """In evaluation mode a mixture changes no other item, so its only way to the weights is the adversary."""
    found = {}
    for weight, silent in ((0.1, False), (0.1, True), (0.0, False), (0.0, True)):
        loop, task, batch = open_task(roots, tmp_path / f"{weight} {silent}")
        task.adversary.config = task.adversary.config.model_copy(update={"weight": weight})
        for module in task.generator.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.train = lambda mode=True, frozen=module: frozen  # type: ignore[method-assign, misc]
                module.training = False
        if silent:
            batch = batch._replace(mixture=torch.where(batch.supervised[:, None, None], batch.mixture, 0.0))
        before = weights(task)
        torch.manual_seed(0)
        measured = loop.train_step([batch])
        after = weights(task)
        assert measured["reconstruction"] > 0
        assert ("adversarial" in measured) == (weight > 0)
        assert any(not torch.equal(before[name], after[name]) for name in before)
        found[weight, silent] = after
    assert all(torch.equal(value, found[0.0, True][name]) for name, value in found[0.0, False].items())
    assert not all(torch.equal(value, found[0.1, True][name]) for name, value in found[0.1, False].items())


def test_a_batch_of_mixtures_only_changes_nothing(roots: dict[str, Path], tmp_path: Path) -> None:
    """There is no real stem to tell them from, and nothing to compare them with."""
    loop, task, batch = open_task(roots, tmp_path)
    only = select(batch, ~batch.supervised)
    assert task.sizes(only) == Sizes(0, 0)
    before, judge = weights(task), task.adversary.modules["discriminator"]
    judged = {name: value.detach().clone() for name, value in judge.named_parameters()}
    measured = loop.train_step([only])
    assert all(torch.equal(value, before[name]) for name, value in weights(task).items())
    assert all(torch.equal(value, judged[name]) for name, value in judge.named_parameters())
    assert not {"reconstruction", "adversarial", "discriminator_loss"} & measured.keys()
    assert loop.step == 1


def test_augmented_stems_reach_the_step(roots: dict[str, Path], tmp_path: Path) -> None:
    """Upside down they are the same stems with another sign; in rooms they are others, and are learnt from."""
    _, _, plain = open_task(roots, tmp_path / "plain")
    _, _, turned = open_task(roots, tmp_path / "turned", augmentation={"polarity": 1.0})
    assert torch.equal(turned.supervised, plain.supervised)
    torch.testing.assert_close(turned.targets, -plain.targets, rtol=0, atol=1e-7)
    known = plain.supervised
    torch.testing.assert_close(turned.mixture[known], -plain.mixture[known], rtol=0, atol=1e-6)
    assert torch.equal(turned.mixture[~known], plain.mixture[~known]), "mixtures stay as they are"
    losses = {}
    for name, effects in (("dry", {}), ("wet", {"eq": 1.0, "reverb": 1.0, "lowpass": 1.0, "lowpass_hz": [3000, 6000]})):
        loop, task, batch = open_task(roots, tmp_path / name, augmentation=effects)
        torch.testing.assert_close(batch.targets.sum(1)[known], batch.mixture[known], rtol=0, atol=1e-6)
        before = weights(task)
        losses[name] = loop.train_step([batch])["reconstruction"]
        assert any(not torch.equal(value, before[key]) for key, value in weights(task).items())
    assert losses["wet"] > 0
    assert losses["wet"] != pytest.approx(losses["dry"], rel=1e-3)
