"""Short runs on small synthetic songs, and what tests ask of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sepgan import checkpoint, recipe
from sepgan.recipe import Recipe
from sepgan.training import state
from sepgan.training.loop import Loop
from sepgan.training.separation import SeparationTask
from sepgan.training.trainer import train


def tiny(trees: Mapping[str, Path], *overrides: str, **sections: Any) -> Recipe:
    """A recipe at 16 kHz whose steps take milliseconds; the adversary acts from the second one on."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "licence": "CC0 1.0",
        "frontend": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "bins": 64},
        "generator": {"widths": [8, 12], "head_width": 8, "dropout": 0.3},
        "adversary": {"weight": 0.1, "start_step": 1, "warmup_steps": 1, "ramp_steps": 2, "widths": [8]},
        "data": {
            "excerpt_s": 0.3,
            "train": [{"kind": "folder", "root": "music", "title": "synthetic", "licence": "CC0 1.0"}],
            "validation": [{"kind": "folder", "root": "music", "split": "valid"}],
            "cache": str(trees["cache"]),
        },
        "train": {
            "steps": 6,
            "batch_size": 2,
            "learning_rate": 3e-3,
            "warmup_steps": 2,
            "validate_every": 3,
            "validation_s": 1,
            "log_every": 1,
            "save_every": 3,
            "report": False,
        },
    }
    for section, keys in sections.items():
        raw[section] = raw[section] | keys if isinstance(keys, dict) else keys
    for override in overrides:
        recipe.assign(raw, override)
    return recipe.from_dict(raw)


def run(config: Recipe, out: Path, trees: Mapping[str, Path], **keys: Any) -> Path:
    return train(config, out, trees, device="cpu", **keys)


def log_of(out: Path, key: str = "reconstruction") -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def fall(losses: Mapping[int, float]) -> float:
    """Mean of the last four values relative to that of the first two: single batches differ."""
    values = list(losses.values())
    return sum(values[-4:]) / 4 / (sum(values[:2]) / 2)


def newest(out: Path) -> Path:
    return state.found(out)[0]


def task_of(loop: Loop) -> SeparationTask:
    assert isinstance(loop.task, SeparationTask)
    return loop.task


def weights_of(path: Path) -> dict[str, Tensor]:
    return checkpoint.read_tensors(path)[1]


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def interrupt_at(step: int, error: type[BaseException]) -> Any:
    def progress(now: int, total: int, measured: Mapping[str, float]) -> None:
        if now == step:
            raise error

    return progress
