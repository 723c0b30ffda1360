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
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sepgan.errors import CheckpointError, OutputError

FORMAT_VERSION = 1
METADATA_KEY = "sepgan"
SUFFIX = ".safetensors"
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch's zip; bare pickles
FOLDER_VARIABLE = "SEPGAN_MODELS"  # environment variable that names another folder for the user's models


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
    complete = signed(header, tensors)
    write_tensors(path, tensors, {METADATA_KEY: complete.model_dump_json()})
    return complete


def signed(header: CheckpointHeader, tensors: Mapping[str, Tensor]) -> CheckpointHeader:
    """Return the header with the sha256 over itself and the tensors filled in."""
    plain = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    return header.model_copy(update={"sha256": _digest(header, plain)})


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
        CheckpointError: The file is absent, truncated, a pickle, or no safetensors file.
    """
    _require_plain(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"model file '{path}' is truncated or no safetensors file ({error}): get it again"
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
        CheckpointError: The file is absent, a pickle, damaged, or of another version.
    """
    _require_plain(path)
    try:
        with safe_open(path, framework="pt") as file:
            return _parse(path, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"model file '{path}' is truncated or no safetensors file ({error}): get it again"
        ) from error


def bundled() -> dict[str, Path]:
    """Return the models that ship with the package, by name."""
    return _models_in(Path(__file__).parent / "weights")


def user_folder() -> Path:
    """Return where the user's own models lie: `$SEPGAN_MODELS`, or the system's place for a user's data."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_data_path("sepgan", appauthor=False) / "models"


def known() -> dict[str, Path]:
    """Return all models that have a name: those of the package, then the user's own."""
    return _models_in(user_folder()) | bundled()


def find(name_or_path: str | Path) -> Path:
    """Return the file of a model given by its name or by path.

    Raises:
        CheckpointError: There is neither.
    """
    models = known()
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    path = Path(name_or_path)
    # The folder of a training run; one without validation has no best model.
    for file in (path / f"best{SUFFIX}", path / f"last{SUFFIX}", path):
        if file.is_file():
            return file
    names = f", or one of {', '.join(models)}" if models else ""
    raise CheckpointError(f"model '{name_or_path}' not found: give a {SUFFIX} file, a training folder{names}")


def _models_in(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.glob(f"[!.]*{SUFFIX}"))}


def _require_plain(path: Path) -> None:
    """Refuse what is not there, and pickles, with the reason."""
    if not path.is_file():
        raise CheckpointError(f"model file '{path}' does not exist: check the path, or see `sepgan models list`")
    try:
        with path.open("rb") as file:
            start = file.read(len(_PICKLE_STARTS[0]))
    except OSError as error:
        raise CheckpointError(f"model file '{path}' cannot be read: {error.strerror}") from error
    if start.startswith(_PICKLE_STARTS):
        raise CheckpointError(
            f"model file '{path}' is a pickle (.pt, .pth, .ckpt, .th): reading one can run any program hidden in it, "
            f"so sepgan reads {SUFFIX} files only; ask who made it for one, or see docs/models.md"
        )


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
