"""Adversaries of every kind in a run on small synthetic songs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sepgan import recipe
from sepgan.training.separation import SeparationTask
from sepgan.training.task import Part
from sepgan.training.trainer import open_run
from tests import synth

STFT = {"kind": "stft", "widths": [4], "n_ffts": [256, 128]}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trees")
    return {"music": synth.folder_tree(root / "music", duration_s=1.0, sample_rate=16000), "cache": root / "cache"}


def tiny(trees: dict[str, Path], adversary: dict[str, Any]) -> recipe.Recipe:
    return recipe.from_dict(
        {
            "name": "tiny",
            "frontend": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "bins": 64},
            "generator": {"widths": [8, 12], "head_width": 8, "dropout": 0.0},
            "adversary": {"weight": 0.1, "widths": [8]} | adversary,
            "data": {"excerpt_s": 0.3, "train": [{"kind": "folder", "root": "music"}], "cache": str(trees["cache"])},
            "train": {"steps": 3, "batch_size": 2, "warmup_steps": 0, "log_every": 1},
        }
    )


@pytest.mark.parametrize(
    ("adversary", "measured"),
    [
        ({"also": [STFT, {"kind": "context", "widths": [8]}]}, {"discriminator_loss_1_stft", "score_real_2_context"}),
        ({"balance": True, "feature_matching": 0.2}, {"feature_matching"}),
        (STFT | {"balance": True, "loss": "hinge", "r1": 1.0, "penalty_every": 2}, {"penalty"}),
        ({"conditional": False, "unpaired": True, "labels": "separate", "moment_matching": 0.1}, {"moment_matching"}),
        ({"kind": "encoder", "share_encoder": "tied", "loss": "hinge"}, {"false_positives"}),
        ({"updates": 2, "controller": {"enabled": True, "window": 1}}, {"generator_rate_scale"}),
    ],
    ids=["three discriminators", "balanced", "waveforms balanced", "unpaired", "tied encoder", "controlled"],
)
def test_a_run_steps_both_networks(
    tmp_path: Path, trees: dict[str, Path], adversary: dict[str, Any], measured: set[str]
) -> None:
    loop = open_run(tiny(trees, adversary), tmp_path, trees, device="cpu")
    task = loop.task
    assert isinstance(task, SeparationTask)
    before = [weight.detach().clone() for weight in task.generator.parameters()]
    judges = [weight.detach().clone() for network in task.adversary.modules.values() for weight in network.parameters()]
    loop.fit()
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    last = [line for line in lines if "reconstruction" in line][-1]
    assert measured <= set().union(*(line.keys() for line in lines))
    assert all(math.isfinite(value) for value in last.values())
    after = list(task.generator.parameters())
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True) if new.requires_grad)
    judged = [weight for network in task.adversary.modules.values() for weight in network.parameters()]
    assert sum(not torch.equal(old, new) for old, new in zip(judges, judged, strict=True)) >= 0.9 * len(judges)


def test_the_balanced_output_is_the_waveform_that_is_heard(tmp_path: Path, trees: dict[str, Path]) -> None:
    """Its stems sum to the mixture, and the loss is taken from it."""
    loop = open_run(tiny(trees, {"balance": True}), tmp_path, trees, device="cpu")
    batch = next(iter(loop.task.batches(Part(first=0, batch_size=2))))
    made = loop.task.make(batch, judged=True)
    torch.testing.assert_close(made.output.sum(1), batch.mixture, rtol=0, atol=1e-4)
    assert made.reconstruction is not None
    (gradient,) = torch.autograd.grad(made.reconstruction, made.output)
    assert float(gradient.abs().max()) > 0
