"""The whole state of a run as safetensors, so that a resumed run goes on exactly where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sepgan.checkpoint import read_tensors, write_tensors
from sepgan.errors import CheckpointError

STATE_FILE = "state.safetensors"
STATE_VERSION = 1


def save(
    path: Path,
    modules: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
    progress: dict[str, Any],
) -> None:
    """Write networks, optimisers, random state and progress atomically.

    Args:
        path: The file.
        modules: Networks by name.
        optimisers: Optimisers by name.
        progress: Plain JSON-able data: step, best score, recipe.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        for index, entries in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{name}/{index}/{key}": torch.as_tensor(value) for key, value in entries.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    write_tensors(path, tensors, {"state": json.dumps({"version": STATE_VERSION, **progress})})


def load(path: Path, modules: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Restore what `save` wrote into the given networks and optimisers and return the progress.

    Raises:
        CheckpointError: The file is damaged, of another version, or does not fit the networks.
    """
    metadata, tensors = read_tensors(path)
    progress: dict[str, Any] = json.loads(metadata.get("state", "{}"))
    if progress.get("version") != STATE_VERSION:
        raise CheckpointError(f"training state '{path}' is of another version: start again with --no-resume")
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
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return progress


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
