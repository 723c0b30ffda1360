"""Every knob of a run and its default: strict YAML <-> frozen models. Imports no torch.

A recipe names the front-end, the generator, the adversary, the data and the training of one model. It is stored in the
checkpoint, so a model cannot be run with another front-end than it was trained with.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sepgan.errors import RecipeError

MUSDB_STEMS = ("drums", "bass", "other", "vocals")


class Section(BaseModel):
    """A part of a recipe: frozen, and refusing keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FrontendRecipe(Section):
    """The short-time Fourier transform and the view of it that the networks see."""

    sample_rate: int = Field(44100, ge=8000, description="Hz")
    n_fft: int = Field(4096, ge=64, description="93 ms at 44.1 kHz")
    hop_length: int = Field(1024, ge=16)
    mel_bands: int | None = Field(None, ge=16, description="network sees mel bands; masks return to linear bins")
    bins: int | None = Field(None, ge=16, description="network sees the lowest bins; above, the mean of its top masks")

    @model_validator(mode="after")
    def _check(self) -> FrontendRecipe:
        if self.mel_bands and self.bins:
            raise ValueError("frontend.mel_bands and frontend.bins exclude each other: set one of them to null")
        if self.hop_length * 2 > self.n_fft:
            raise ValueError("frontend.hop_length must be at most n_fft / 2, or the inverse is not exact")
        if self.bins and self.bins > self.n_fft // 2 + 1:
            raise ValueError(f"frontend.bins must be at most n_fft / 2 + 1 = {self.n_fft // 2 + 1}")
        return self


class GeneratorRecipe(Section):
    """The network from magnitudes to masks."""

    kind: str = "classic"
    channels: int = Field(2, ge=1, le=2, description="2: stereo pairs seen together; other inputs channel by channel")
    widths: tuple[int, ...] = Field((16, 32, 64, 128, 256, 512), min_length=1, description="channels a level")
    kernel: int = Field(5, ge=3)
    downsample: Literal["stride", "pool"] = "stride"
    dropout: float = Field(0.5, ge=0, lt=1)
    dropout_levels: int = Field(3, ge=0, description="decoder levels with dropout, deepest first")
    head_width: int = Field(16, ge=4, description="channels of the last decoder level")


class AdversaryRecipe(Section):
    """The discriminator, its optimiser, and how much its opinion counts. Weight 0 switches all of it off."""

    kind: str = "patch"
    weight: float = Field(0.0, ge=0, description="share of the least-squares adversarial loss beside reconstruction")
    start_step: int = Field(0, ge=0, description="first step at which the discriminator trains")
    warmup_steps: int = Field(0, ge=0, description="steps in which the discriminator trains alone after start_step")
    ramp_steps: int = Field(0, ge=0, description="steps over which the weight then rises linearly")
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    power: float = Field(0.3, gt=0, le=1, description="magnitudes are compressed as |X|^power")
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.9)
    clip_norm: float = Field(10.0, gt=0)


class SourceRecipe(Section):
    """One folder of music and what it may be used for."""

    kind: str = Field(description="a name of sepgan.data.DATASETS: musdb18, musdb18hq, folder, pairs, singles")
    root: str = Field(description="a NAME given by --data NAME=PATH, or a path")
    split: str = "train"
    include: str = Field("*", description="glob over track names")
    absent: Literal["in_other", "silent"] = Field(
        "in_other", description="a stem without a file: its part lies inside `other`, or the song has none"
    )
    stem: str = Field("vocals", description="for `singles`: which stem the recordings are")
    band_hz: float | None = Field(None, gt=0, description="the loss is masked above; default half the file's own rate")
    weight: float = Field(1.0, gt=0, description="relative number of excerpts")
    limit: int | None = Field(None, ge=1, description="use at most so many tracks, spread evenly")
    title: str = ""
    licence: str = "not stated"


class DataRecipe(Section):
    """What is trained on, what is validated on, and how excerpts are mixed."""

    train: tuple[SourceRecipe, ...] = ()
    validation: tuple[SourceRecipe, ...] = ()
    excerpt_s: float = Field(6.0, gt=0, description="rounded so that frames fill the network's grid")
    remix: float = Field(0.8, ge=0, le=1, description="share of excerpts whose stems come from different songs")
    gain_db: tuple[float, float] = Field((-12.0, 2.0), description="random gain of each stem")
    swap_channels: float = Field(0.5, ge=0, le=1)
    pan: float = Field(0.0, ge=0, le=1, description="mono stems are panned by up to this much")
    drop_stem: float = Field(0.0, ge=0, lt=1, description="probability that a stem is left out of a remix")
    cache: str | None = Field(None, description="folder for decoded audio; default <out>/cache")
    workers: int = Field(0, ge=0)


class TrainRecipe(Section):
    """The one loop."""

    steps: int = Field(100_000, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-5, ge=0, description="of the cosine")
    warmup_steps: int = Field(500, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-2, ge=0)
    reconstruction: Literal["magnitude", "phase_sensitive"] = Field("magnitude", description="target of the L1 loss")
    clip_norm: float = Field(5.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    validate_every: int = Field(1000, ge=1)
    validation_s: float = Field(30.0, gt=0, description="seconds of each validation track that are scored")
    log_every: int = Field(50, ge=1)
    save_every: int = Field(500, ge=1)
    fine_tune: str | None = Field(None, description="start from the weights of this model (name or file)")
    weights_dtype: Literal["float32", "float16"] = Field("float32", description="of the checkpoints for separation")


class Recipe(Section):
    """A whole run."""

    name: str
    description: str = ""
    licence: str = Field("not stated", description="of the weights that come out")
    seed: int = 0
    stems: tuple[str, ...] = Field(MUSDB_STEMS, min_length=1)
    frontend: FrontendRecipe = FrontendRecipe()
    generator: GeneratorRecipe = GeneratorRecipe()
    adversary: AdversaryRecipe = AdversaryRecipe()
    data: DataRecipe = DataRecipe()
    train: TrainRecipe = TrainRecipe()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if len(set(self.stems)) != len(self.stems):
            raise ValueError(f"stems must differ, got {', '.join(self.stems)}")
        return self


def folders() -> list[Path]:
    """Where recipes are looked for by name: inside the installed package, then beside a source checkout."""
    package = Path(__file__).parent
    return [package / "recipes", package.parent / "recipes"]


def find(name_or_path: str | Path) -> Path:
    """Return the file of a recipe given by path or by the name of one that ships.

    Raises:
        RecipeError: There is no such file or name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    for folder in folders():
        for candidate in (folder / path.name, folder / f"{path.name}.yaml"):
            if candidate.is_file() and path.parent.name in ("", "recipes"):
                return candidate
    known = sorted({file.stem for folder in folders() if folder.is_dir() for file in folder.glob("*.yaml")})
    raise RecipeError(f"recipe '{name_or_path}' not found: give a YAML file or one of {', '.join(known)}")


def load(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.sub=value` overrides.

    Args:
        name_or_path: A YAML file, or the name of a recipe that ships with the package.
        overrides: Assignments such as `train.steps=200`; values are read as YAML.

    Raises:
        RecipeError: The file is absent or no YAML, or a key or value is wrong; the message names the nearest valid key.
    """
    path = find(name_or_path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"recipe '{path}' cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe '{path}' must be a mapping of keys, got {type(raw).__name__}")
    for override in overrides:
        _assign(raw, override)
    return from_dict(raw, str(path))


def from_dict(raw: Mapping[str, Any], origin: str = "recipe") -> Recipe:
    """Check a mapping and return the recipe it describes.

    >>> from_dict({"name": "x", "train": {"steps": 5}}).train.steps
    5

    Raises:
        RecipeError: A key is unknown or a value has the wrong type.
    """
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{origin}: {_explain(error)}") from error


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain JSON-able data; the inverse of `from_dict`."""
    return recipe.model_dump(mode="json")


def _assign(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override '{override}' must look like key.sub=value, for instance train.steps=200")
    node: Any = raw
    *parents, last = key.split(".")
    for parent in parents:
        node = node[_index(node, parent, override)] if isinstance(node, list) else node.setdefault(parent, {})
    if not isinstance(node, (dict, list)):
        raise RecipeError(f"override '{override}': '{'.'.join(parents)}' is a single value and has no keys")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"override '{override}': the value is not YAML") from error
    if isinstance(node, list):
        node[_index(node, last, override)] = parsed
    else:
        node[last] = parsed


def _index(node: list[Any], text: str, override: str) -> int:
    if not text.isdigit() or int(text) >= len(node):
        raise RecipeError(f"override '{override}': '{text}' must be a position from 0 to {len(node) - 1}")
    return int(text)


def _explain(error: ValidationError) -> str:
    """One line for the first fault, with the nearest valid key where a key is unknown."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        valid = _valid_keys(first["loc"][:-1])
        nearest = difflib.get_close_matches(str(first["loc"][-1]), valid, n=1, cutoff=0.0)
        return f"unknown key '{where}'; did you mean '{nearest[0]}'? (valid keys: {', '.join(valid)})"
    if first["type"] == "missing":
        return f"key '{where}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not where or first["type"] == "value_error":
        return message
    return f"'{where}' = {first['input']!r}: {message}"


def _valid_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        nested = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in nested if isinstance(kind, type) and issubclass(kind, BaseModel))
    return sorted(model.model_fields)
