"""Songs with and without stems, small models that teach, and a small recipe that learns from both."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sepgan import checkpoint, recipe
from sepgan.checkpoint import CheckpointHeader
from sepgan.data.excerpts import Batch
from sepgan.recipe import Recipe
from sepgan.separator import Separator
from sepgan.training.loop import Loop
from sepgan.training.separation import SeparationTask
from sepgan.training.teacher import Teacher
from sepgan.training.trainer import open_run
from tests import synth

RATE = 16000
STEMS = ["drums", "bass", "other", "vocals"]
FRONTEND = {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "bins": 64}

ALONE = [[0], [1], [2], [3]]
HIDDEN = [[0], [1, 2, 3]]  # the voice lies inside `other`
BACKING = [[0, 1, 2], [3]]


def make_teacher(path: Path, seed: int = 5, licence: str = "MIT", **sections: Any) -> Path:
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
        licence=licence,
    )
    checkpoint.write(path, header, separator.generator.state_dict())
    return path


def make_roots(root: Path) -> dict[str, Path]:
    """Songs with stems, songs without, a cache, and teachers."""
    synth.folder_tree(root / "music", duration_s=1.0, sample_rate=RATE)
    for seed in (7, 8):
        wave = synth.mixture(synth.song(1.0, seed=seed, sample_rate=RATE))
        synth.write(root / "mixtures/train" / f"song {seed}" / "mixture.wav", wave, sample_rate=RATE)
    make_teacher(root / "tutor.safetensors")
    make_teacher(root / "other.safetensors", seed=6)
    make_teacher(root / "finer.safetensors", frontend=FRONTEND | {"n_fft": 1024, "hop_length": 256, "bins": 100})
    make_teacher(root / "rate.safetensors", frontend=FRONTEND | {"sample_rate": 22050})
    make_teacher(root / "horns.safetensors", stems=["horns", "rest"])
    make_teacher(root / "secret.safetensors", licence="not public")
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


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def log_of(out: Path, key: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}
