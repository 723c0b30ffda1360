"""The whole state of a run as safetensors, so that a resumed run goes on exactly where it stopped.

States are named after their step, written atomically, and the oldest are deleted after the newest is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sepgan.checkpoint import read_tensors, write_tensors
from sepgan.errors import CheckpointError

STATE_VERSION = 2
_NAME = re.compile(r"state(-\d+)?\.safetensors")  # without a step: of version 1, which is refused when it is read


def path_of(folder: Path, step: int) -> Path:
    """The state of a step."""
    return folder / f"state-{step:08d}.safetensors"


def found(folder: Path) -> list[Path]:
    """States in a folder, newest first."""
    paths = [path for path in folder.glob("state*.safetensors") if _NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: path.stem.replace("-", "~"), reverse=True)


def rotate(folder: Path, keep: int) -> None:
    """Delete all but the newest states."""
    for path in found(folder)[keep:]:
        path.unlink(missing_ok=True)


def random_state() -> dict[str, Tensor]:
    """State of this process's random numbers."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def save(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    random: Sequence[Mapping[str, Tensor]],
    progress: Mapping[str, Any],
) -> None:
    """Write networks, optimisers, random states and progress atomically.

    Args:
        path: The file.
        modules: Networks by name.
        optimisers: Optimisers by name.
        random: Of each process, from `random_state`.
        progress: Plain JSON-able data: step, scores, recipe.

    Raises:
        OutputError: It cannot be written; states that were there before are untouched.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        for index, entries in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{name}/{index}/{key}": torch.as_tensor(value) for key, value in entries.items()}
    for rank, states in enumerate(random):
        tensors |= {f"random/{rank}/{key}": value for key, value in states.items()}
    write_tensors(path, tensors, {"state": json.dumps({"version": STATE_VERSION, **progress})})


def load(
    path: Path, modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer], rank: int = 0
) -> dict[str, Any]:
    """Restore what `save` wrote into the given networks and optimisers and return the progress.

    Raises:
        CheckpointError: The file is damaged, of another version, or does not fit the networks.
    """
    progress, tensors = read_progress(path)
    try:
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, f"module/{name}/"))
        for name, optimiser in optimisers.items():
            entries: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(tensors, f"optimiser/{name}/").items():
                index, _, field = key.partition("/")
                entries.setdefault(int(index), {})[field] = value
            optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    except RuntimeError as error:
        summary = str(error).splitlines()[0]
        raise CheckpointError(
            f"training state '{path}' does not fit this recipe: {summary}; use another --out"
        ) from error
    states = _below(tensors, f"random/{rank}/")
    if "cpu" in states:  # absent for processes that were not there when it was saved
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    return progress


def read_progress(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return progress and tensors of a state.

    Raises:
        CheckpointError: The file is damaged or of another version.
    """
    metadata, tensors = read_tensors(path)
    progress: dict[str, Any] = json.loads(metadata.get("state", "{}"))
    if progress.get("version") != STATE_VERSION:
        raise CheckpointError(f"training state '{path}' is of another version: start again with --no-resume")
    return progress, tensors


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
