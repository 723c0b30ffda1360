"""One line for what is wrong with a recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from sepgan.recipe.whole import Recipe


def explain(error: ValidationError) -> str:
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
