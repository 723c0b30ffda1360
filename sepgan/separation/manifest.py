"""The record of a separation: what went in, what was asked, what came out, and how sure one can be of it."""

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from sepgan.errors import AudioError, UsageError
from sepgan.separation.blocks import Model

SCHEMA_VERSION: Literal[2] = 2


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(_Record):
    """The song as it was found."""

    file: str
    path: str  # relative to the manifest's folder where that is possible
    bytes: int
    sha256: str | None  # of the file; null where the song came through a pipe
    sample_rate: int  # Hz
    channels: int
    frames: int  # samples per channel that were separated
    codec: str
    bits: int | None


class ModelRecord(_Record):
    """A model, and how it was asked for."""

    source: str | None  # name or path, as given; null where the model did not come from a file
    name: str | None
    sha256: str | None
    licence: str | None
    sample_rate: int  # Hz


class StemRecord(_Record):
    """One file."""

    file: str  # relative to the manifest's folder
    parts: tuple[str, ...]  # the model's stems in it; none for a residual of its own
    bytes: int
    sha256: str  # of the file
    peak_dbfs: float | None  # null for silence
    loudness_lufs: float | None  # ITU-R BS.1770-4, integrated; null below its gate
    bandwidth_hz: int  # measured, see BandwidthMeter
    seam_db: float | None  # see SeamMeter; null without seams, and for what is not the model's own signal
    presence: tuple[float, ...]  # a score from 0 to 1 for each second, see PresenceMeter


class NullRecord(_Record):
    """How well the files sum to the song times the gain."""

    level_dbfs: float | None  # null where they are equal bit for bit, and where they cannot null
    exact: bool
    why_not: str | None  # why these files cannot null


class EngineRecord(_Record):
    """How the model was run: what decides the last bits of the result."""

    segment: int  # samples at the model's rate, as used
    overlap: int
    layout: tuple[tuple[int, ...], ...]  # channels that were seen together, from 0
    separated_up_to_hz: int
    threads: int  # of torch
    precision_error_db: float | None  # of bf16 and fp16 against fp32, on the first segment


class RunRecord(_Record):
    """What differs from run to run."""

    audio_s: float
    wall_s: float
    real_time_factor: float
    sepgan: str
    torch: str
    machine: str


class Manifest(_Record):
    """`manifest.json`, written last: a song that has one is finished."""

    schema_version: Literal[2] = SCHEMA_VERSION
    input: InputRecord
    models: tuple[ModelRecord, ...]  # one, or those of an ensemble
    options: dict[str, Any]  # those that decide what a stem holds
    engine: EngineRecord
    stems: dict[str, StemRecord]
    residual: str | None  # the stem that took what the others and the model's band leave
    gain: float  # the one factor on all stems
    null: NullRecord
    run: RunRecord

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2) + "\n"


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest.

    Raises:
        AudioError: there is none, or it cannot be read.
        UsageError: it is no manifest of this version.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise AudioError(f"manifest {path} cannot be read: {error.strerror}") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its text"
        raise UsageError(
            f"{path} is not a manifest of version {SCHEMA_VERSION} ({place}: {first['msg']}); separate the song again"
        ) from error


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in bounded memory.

    Raises:
        AudioError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def is_finished(manifest_path: Path, key: Mapping[str, Any], targets: Mapping[str, Path]) -> bool:
    """Whether a manifest says that this separation was done, and its files are still what it says.

    Args:
        manifest_path: where the manifest would be.
        key: what `finished_key` gives for the work at hand.
        targets: the file of each stem.
    """
    if not manifest_path.is_file():
        return False
    try:
        manifest = read_manifest(manifest_path)
    except (AudioError, UsageError):
        return False
    if finished_key(manifest.input.sha256, [model.sha256 for model in manifest.models], manifest.options) != key:
        return False
    if set(manifest.stems) != set(targets):
        return False
    for stem, record in manifest.stems.items():
        path = targets[stem]
        if (manifest_path.parent / record.file).resolve() != path.resolve() or not path.is_file():
            return False
        if path.stat().st_size != record.bytes or file_sha256(path) != record.sha256:
            return False
    return True


def finished_key(
    input_sha256: str | None, models_sha256: Sequence[str | None], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What decides whether two separations are the same; what has no sha256 is like nothing else."""
    # NaN is equal to no other NaN but to itself, hence new ones.
    models = [sha256 or float("nan") for sha256 in models_sha256]
    return {"input": input_sha256 or float("nan"), "models": models, "options": dict(options)}


def model_records(model: Model, source: str | None) -> tuple[ModelRecord, ...]:
    """What is written down of a model, or of each of an ensemble.

    Args:
        model: the model.
        source: name or path as it was given, of an ensemble those of all with commas between.
    """
    headers = list(getattr(model, "headers", ())) or [model.header]
    sources = [None] * len(headers) if source is None else source.split(",") if len(headers) > 1 else [source]
    return tuple(
        ModelRecord(
            source=place,
            name=None if header is None else header.name,
            sha256=None if header is None else header.sha256,
            licence=None if header is None else header.licence,
            sample_rate=model.sample_rate,
        )
        for header, place in zip(headers, sources, strict=True)
    )


def run_record(audio_s: float, wall_s: float) -> RunRecord:
    """What this machine and these versions are, with the time that was taken."""
    try:
        own = version("sepgan")
    except PackageNotFoundError:
        own = "0+unknown"
    return RunRecord(
        audio_s=round(audio_s, 3),
        wall_s=round(wall_s, 3),
        real_time_factor=round(wall_s / audio_s, 4),
        sepgan=own,
        torch=torch.__version__,
        machine=f"{platform.system()} {platform.machine()}, {_cpu()}",
    )


def decibels(amplitude: float) -> float:
    """Amplitude in dB of full scale; minus infinity for silence."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def finite(value: float) -> float | None:
    """A figure for JSON, which has no infinity."""
    return round(value, 2) if math.isfinite(value) else None


def _cpu() -> str:
    return torch.backends.cpu.get_cpu_capability()
