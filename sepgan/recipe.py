"""Every knob of a run and its default: strict YAML <-> frozen models. Imports no torch.

A recipe names the front-end, the generator, the adversary, the data and the training of one model. It is stored in the
checkpoint, so a model cannot be run with another front-end than it was trained with.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sepgan.errors import RecipeError

MUSDB_STEMS = ("drums", "bass", "other", "vocals")


class Section(BaseModel):
    """A part of a recipe: frozen, and refusing keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _check_betas(key: str, betas: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{key} must be from 0 to below 1 each, got {list(betas)}")


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
        if self.n_fft % 2:
            raise ValueError(f"frontend.n_fft must be even, got {self.n_fft}")
        if self.hop_length * 3 > self.n_fft:
            # With less overlap the last samples of a song lie on the foot of a single window.
            raise ValueError("frontend.hop_length must be at most n_fft / 3, or the inverse is not exact")
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

    @model_validator(mode="after")
    def _check(self) -> GeneratorRecipe:
        if self.kernel % 2 == 0:
            raise ValueError(f"generator.kernel must be odd, got {self.kernel}")
        if min(self.widths) < 1:
            raise ValueError(f"generator.widths must be at least 1 each, got {list(self.widths)}")
        return self


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

    @model_validator(mode="after")
    def _check(self) -> AdversaryRecipe:
        if min(self.widths) < 1:
            raise ValueError(f"adversary.widths must be at least 1 each, got {list(self.widths)}")
        _check_betas("adversary.betas", self.betas)
        return self


class SourceRecipe(Section):
    """One folder of music and what it may be used for."""

    kind: str = Field(description="a name of sepgan.data.DATASETS: musdb18, musdb18hq, folder, pairs, singles")
    root: str = Field(description="a NAME given by --data NAME=PATH, or a path with a slash")
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

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"data.gain_db must rise from lowest to highest, got {list(self.gain_db)}")
        return self


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

    @model_validator(mode="after")
    def _check(self) -> TrainRecipe:
        _check_betas("train.betas", self.betas)
        return self


class Recipe(Section):
    """A whole run."""

    name: str
    description: str = ""
    licence: str = Field("not stated", description="of the weights that come out")
    seed: int = Field(0, ge=0)
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
        for stem in self.stems:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", stem) or stem == "mixture":
                raise ValueError(f"'{stem}' cannot name a stem: use lower-case letters, digits, - and _, not 'mixture'")
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
    for depth, parent in enumerate(parents, start=1):
        if isinstance(node, list):
            node = node[_index(node, parent, override)]
        else:
            if node.get(parent) is None:  # absent, or a section with nothing in it
                node[parent] = {}
            node = node[parent]
        if not isinstance(node, (dict, list)):
            raise RecipeError(f"override '{override}': '{'.'.join(parents[:depth])}' is a single value and has no keys")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"override '{override}': the value is not YAML") from error
    if isinstance(node, list):
        node[_index(node, last, override)] = parsed
    else:
        node[last] = parsed


def _index(node: list[Any], text: str, override: str) -> int:
    if not node:
        raise RecipeError(f"override '{override}': the list is empty, so there is no position '{text}'")
    if not re.fullmatch(r"[0-9]+", text) or int(text) >= len(node):
        raise RecipeError(f"override '{override}': '{text}' must be a position from 0 to {len(node) - 1}")
    return int(text)


def _explain(error: ValidationError) -> str:
    """One line for the first fault, with the nearest valid key where a key is unknown."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        valid = sorted(_section(first["loc"][:-1]).model_fields)
        return f"unknown key '{where}'; did you mean '{_nearest(first['loc'])}'? (valid keys: {', '.join(valid)})"
    if first["type"] == "missing":
        return f"key '{where}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not where or first["type"] == "value_error":
        return message
    if first["type"] == "model_type":  # pydantic would name the Python class
        message = "must be a section with keys of its own"
    elif first["type"] == "tuple_type":  # which YAML calls a list
        message = "must be a list"
    return f"'{where}' = {first['input']!r}: {message}"


def _nearest(location: tuple[int | str, ...]) -> str:
    """Dotted path of the valid key most like an unknown one: the same word elsewhere, else one beside it, else any."""
    name = str(location[-1])
    beside = {key: (*location[:-1], key) for key in _section(location[:-1]).model_fields}
    anywhere = {path[-1]: path for path in _paths(Recipe)}
    for keys, cutoff in ((anywhere, 1.0), (beside, 0.6), (anywhere, 0.8), (beside, 0.0)):
        close = difflib.get_close_matches(name, [str(key) for key in keys], n=1, cutoff=cutoff)
        if close:
            return ".".join(str(part) for part in keys[close[0]])
    raise AssertionError("a section has at least one key")


def _paths(section: type[BaseModel], above: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """All keys of a section and of those inside it; deeper ones first, so that a mapping by name keeps the shallow."""
    for key, field in section.model_fields.items():
        nested = _nested(field.annotation)
        if nested is not None:
            many = getattr(field.annotation, "__origin__", None) is tuple
            yield from _paths(nested, (*above, key, 0) if many else (*above, key))
    yield from ((*above, key) for key in section.model_fields)


def _section(location: tuple[int | str, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, str):
            nested = _nested(section.model_fields[part].annotation)
            assert nested is not None, f"pydantic found keys inside {part}, which is no section"
            section = nested
    return section


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone or as a tuple of such."""
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
