"""Recipes as YAML: found by name, read strictly, changed by `key.sub=value`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sepgan.errors import RecipeError
from sepgan.recipe.faults import explain
from sepgan.recipe.whole import Recipe


class _OnceLoader(yaml.SafeLoader):
    """Reads YAML as `safe_load`, and refuses a key that stands twice in one place, where the last would win unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.constructor.ConstructorError(problem=f"key '{key.value}' stands twice, again in line {line}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def folders() -> list[Path]:
    """Where recipes are looked for by name: inside the installed package, then beside a source checkout."""
    package = Path(__file__).parent.parent
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
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"recipe '{path}' cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe '{path}' must be a mapping of keys, got {type(raw).__name__}")
    for override in overrides:
        assign(raw, override)
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
        raise RecipeError(f"{origin}: {explain(error)}") from error


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain JSON-able data; the inverse of `from_dict`."""
    return recipe.model_dump(mode="json")


def assign(raw: dict[str, Any], override: str) -> None:
    """Carry out one `key.sub=value` on the plain data of a recipe.

    Args:
        raw: Changed in place.
        override: The assignment; its value is read as YAML.

    Raises:
        RecipeError: It has another shape, or there is no such place.
    """
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
