"""What all parts of a recipe have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe: frozen, and refusing keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def check_betas(key: str, betas: tuple[float, float]) -> None:
    """Refuse decay rates of Adam that are no rates."""
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{key} must be from 0 to below 1 each, got {list(betas)}")
