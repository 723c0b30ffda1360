"""Models as files: safetensors with a JSON header, never pickle.

The header carries the recipe, stems, sample rate, training data and licence, and a sha256 over itself and every tensor,
which is checked on each load. Files are written under a temporary name and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sepgan.errors import CheckpointError, OutputError

FORMAT_VERSION = 1
METADATA_KEY = "sepgan"
SUFFIX = ".safetensors"


class CheckpointHeader(BaseModel):
    """What a model says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    name: str
    stems: tuple[str, ...]
    sample_rate: int  # Hz
    recipe: dict[str, Any]
    licence: str
    training_data: tuple[dict[str, Any], ...] = ()  # title, licence, tracks, minutes
    step: int = 0
    seconds_trained: float = 0.0  # wall clock
    machine: str = ""
    versions: dict[str, str] = {}
    scores: dict[str, float] = {}  # validation, dB
    sha256: str = ""  # over the header without this field, and every tensor


def write(path: Path, header: CheckpointHeader, tensors: Mapping[str, Tensor]) -> CheckpointHeader:
    """Write a model atomically and return its header with the sha256 filled in.

    Raises:
        OutputError: The file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    signed = header.model_copy(update={"sha256": _digest(header, plain)})
    write_tensors(path, plain, {METADATA_KEY: signed.model_dump_json()})
    return signed


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text atomically as one safetensors file.

    Raises:
        OutputError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Clones: safetensors refuses tensors that share memory, as tied weights and views do. Written by us and not by
        # its save_file, which makes files that only their owner can read.
        plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        temporary.write_bytes(save(plain, metadata))
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"checkpoint '{path}' cannot be written: {error}; free some space or choose another --out"
        ) from error
    finally:  # also when interrupted; after a success there is nothing left under this name
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the text and tensors of a safetensors file.

    Raises:
        CheckpointError: The file is absent, truncated or no safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"model file '{path}' does not exist: check the path, or see `sepgan models list`")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"model file '{path}' is truncated or no safetensors file ({error}): get it again; pickles are not read"
        ) from error


def read(path: Path) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """Return header and weights of a model after checking version and sha256.

    Raises:
        CheckpointError: The file is absent, damaged, altered, or of another version.
    """
    metadata, tensors = read_tensors(path)
    header = _parse(path, metadata)
    if _digest(header, tensors) != header.sha256:
        raise CheckpointError(
            f"model file '{path}' does not match its own sha256: it was altered or damaged, get it again"
        )
    return header, tensors


def read_header(path: Path) -> CheckpointHeader:
    """Return what a model says of itself without reading its weights.

    Raises:
        CheckpointError: The file is absent, damaged, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"model file '{path}' does not exist: check the path, or see `sepgan models list`")
    try:
        with safe_open(path, framework="pt") as file:
            return _parse(path, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"model file '{path}' is truncated or no safetensors file ({error}): get it again"
        ) from error


def bundled() -> dict[str, Path]:
    """Return the models that ship with the package, by name."""
    return {file.stem: file for file in sorted((Path(__file__).parent / "weights").glob(f"*{SUFFIX}"))}


def find(name_or_path: str | Path) -> Path:
    """Return the file of a model given by the name of a bundled one or by path.

    Raises:
        CheckpointError: There is neither.
    """
    models = bundled()
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    path = Path(name_or_path)
    # The folder of a training run; one without validation has no best model.
    for file in (path / f"best{SUFFIX}", path / f"last{SUFFIX}", path):
        if file.is_file():
            return file
    names = f", or one of {', '.join(models)}" if models else ""
    raise CheckpointError(f"model '{name_or_path}' not found: give a {SUFFIX} file, a training folder{names}")


def _parse(path: Path, metadata: Mapping[str, str]) -> CheckpointHeader:
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"model file '{path}' has no sepgan header: it is not a sepgan model")
    try:
        raw = json.loads(metadata[METADATA_KEY])
        version = raw.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"model file '{path}' has format version {version}, this sepgan reads {FORMAT_VERSION}: "
                "install the sepgan it was made with, or train it again"
            )
        return CheckpointHeader.model_validate(raw)
    except (json.JSONDecodeError, ValidationError, AttributeError) as error:
        raise CheckpointError(f"model file '{path}' has a damaged header: get it again") from error


def _digest(header: CheckpointHeader, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    plain = header.model_dump(mode="json", exclude={"sha256"})
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
